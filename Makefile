# Two commands on a fresh machine: `make run` and `make test`. Needs Python 3.11 to 3.13 and make; everything else is
# installed into .venv.
PYTHON ?= python3
PORT ?= 3000
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)
# Compiled modules make every start some seconds cheaper.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup run test test-fast test-all battery lint ui java postgres mariadb browser kafka kafka-jars status clean lock

help:  ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 12

setup: $(VENV)/.installed .env  ## Install everything into .venv

$(VENV)/.installed: pyproject.toml constraints.txt setup.py
	@echo "Installing into $(VENV): one to three minutes on a first run, for some 200 packages are brought from PyPI …"
ifdef UV
	test -x $(BIN)/python || uv venv --python $(PYTHON) $(VENV)
	uv pip install --python $(BIN)/python --compile-bytecode -c constraints.txt -e '.[dev,postgres,mysql,alerts,streaming]'
else
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,postgres,mysql,alerts,streaming]'
endif
	touch $@

# Names the Dagster instance of this home for Dagster's own commands; each time, for LAKEHOUSE_HOME, in the
# environment or in .env, may have changed.
.env: $(VENV)/.installed FORCE
	@$(BIN)/python -m lakehouse_assets.orchestration.instance.local --env-file .env

FORCE:

run: setup  ## Load the sample, show figures, prove Snowflake equal
	$(BIN)/lakehouse run
	@echo "Daily sales of the last days, from Snowflake:"
	$(BIN)/lakehouse sql "SELECT invoice_date, SUM(gross_sales) AS gross_sales, SUM(returns) AS returns, SUM(net_sales) AS net_sales, SUM(gross_sales_eur) AS gross_sales_eur, SUM(orders) AS orders, SUM(units) AS units FROM ANALYTICS.DAILY_SALES GROUP BY invoice_date ORDER BY invoice_date DESC LIMIT 7"
	$(BIN)/lakehouse sql "SELECT cohort_month, months_since, cohort_size, active_customers, net_sales FROM ANALYTICS.COHORT_RETENTION ORDER BY cohort_month, months_since LIMIT 12"
	$(BIN)/lakehouse verify

test: setup java postgres mariadb  ## The normal suite (TESTS=path for a part of it)
	$(BIN)/python -m pytest -m "not heavy" -n 3 --dist loadfile --no-loadscope-reorder $(TESTS)

# Without Java, browser or a server: what to run after each change.
FAST := $(addprefix lakehouse_assets_tests/,core/contracts core/quality core/sources sample scaffold/test_infer.py test_layout.py \
	test_paths.py test_settings.py test_shown.py)

test-fast: setup  ## The quick tests: no Java, no browser, no server
	$(BIN)/python -m pytest -m "not heavy and not server" -n 2 --dist loadfile $(FAST)

test-all: setup java postgres mariadb browser  ## All tests, the long batteries too
	$(BIN)/python -m pytest $(TESTS)

# What is injected and killed, from one call. Left out: the real year in pieces, which takes longer than all of it.
BATTERY := $(addprefix lakehouse_assets_tests/,core/handoff/test_faults.py core/handoff/test_concurrency.py core/handoff/test_recovery.py \
	$(addprefix embedded_snowflake/,test_access.py test_damaged_files.py test_faults.py test_privacy.py \
	test_sql_confinement.py) core/sources/test_caps.py core/sources/test_formats.py test_paths.py \
	orchestration/automation/test_maintenance_beside_runs.py $(addprefix pipeline/,test_battery.py test_corrections.py test_corruption.py \
	test_crashes.py test_disk_full.py test_injections.py test_lost_connection.py test_model.py test_order.py test_secrets.py \
	test_side_by_side.py))

battery: setup  ## Faults, kills and attacks alone (part of test-all)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -k "not real_year" $(BATTERY)

lint: setup  ## Formatting, ruff, pyright
	$(BIN)/ruff format --check lakehouse_assets lakehouse_assets_tests benchmarks setup.py
	$(BIN)/ruff check lakehouse_assets lakehouse_assets_tests benchmarks setup.py
	$(BIN)/pyright

ui: setup  ## Dagster on 127.0.0.1 (PORT=3000)
	umask 077 && $(BIN)/dagster dev -h 127.0.0.1 -w workspace.yaml -p $(PORT)

# What tests need beside Python: Java for Apache Spark, PostgreSQL for the team's instance, it and MariaDB for
# databases that sources are pulled from, Chromium for the UI. Installed by Debian and its kin, for root; elsewhere
# the tests that lack it are skipped, with that reason.
java:
	@command -v java >/dev/null || $(call install,openjdk-17-jre-headless)

postgres:
	@command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || $(call install,postgresql)

mariadb:
	@PATH="$$PATH:/usr/sbin"; command -v mariadbd >/dev/null || $(call install,mariadb-server)

browser:
	@command -v chromium >/dev/null || $(call install,chromium)

install = if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; \
	then apt-get update -qq && apt-get install -y -qq --no-install-recommends $(1) || true; \
	else echo "$(1) is not installed, and only root can do so by apt-get: its tests are skipped."; fi

# A broker for trying events out (docs/streams.md), and the jars for the tests that want a real one.
KAFKA := deploy/kafka/jars

$(KAFKA): deploy/kafka/pom.xml
	mvn -q -B -f deploy/kafka/pom.xml dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory=jars
	touch $@

kafka-jars: $(KAFKA)  ## The jars of Apache Kafka (needs Maven)

kafka: setup kafka-jars  ## Apache Kafka on 127.0.0.1, until Ctrl-C (needs Java and Maven)
	$(BIN)/python -m lakehouse_assets_tests.kafka_server

status: setup  ## What is loaded and what is pending
	$(BIN)/lakehouse status

# A new set of versions within the bounds of pyproject.toml.
lock:  ## New versions within the bounds of pyproject.toml (needs uv)
	$(or $(UV),$(error `make lock` needs uv)) pip compile --quiet --universal --python-version 3.11 --extra dev \
	    --extra postgres --extra mysql --extra alerts --extra streaming --no-header --no-annotate pyproject.toml -o constraints.txt

clean:  ## Remove .venv and caches
	rm -rf $(VENV) .env build *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
