"""The generator of sample drops: an invented shop, written as the application's sources would send it, with a ledger of
the dirt put in.

- `generate`: the one entry, `generate(out, start, days, lines_per_day, seed, dirt)`
- `shop`, `crm`, `rates`: the clean rows of the three sources; `dirt`: the rows and drops that break a rule; `ledger`:
  what was written

Nothing here is imported by the pipeline. What is made is a function of the arguments alone: the same call writes the
same bytes.
"""
