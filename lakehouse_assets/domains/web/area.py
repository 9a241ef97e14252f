"""The area of this domain. Belongs here: what it brings beside the sources and tables of its modules."""

from lakehouse_assets.orchestration.area import Area

AREA = Area.of("lakehouse_assets.domains.web")
