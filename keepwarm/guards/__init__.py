"""The guards on money: caps, breaker, tripwire, and which caps make a prefix useless; pure.

They know no clock, no ledger and no lock: `gate` holds the lock and the switch that stops all, the planner asks the
breaker, the keeper asks the gate.
"""
