"""The sources: what a drop is and how its bytes become rows.

Here belong the parsers of drops (pure functions from bytes to Arrow), the journal of what landed, the landing zone, and
fetching published data into one. Here do not belong type conversion, rules about values, or Dagster: a parser hands on
every value as it landed.

- `parse`: the one entry, `parse_drop(source, content)`; `rows`: the shape of its answer; `lines`: bytes to lines and
  CSV records
- `kinds`: how drops are written, one module each; `drift`: how the columns of a drop differ from those of its source
- `fetch`: the published data set as a landing zone
"""
