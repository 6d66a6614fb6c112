"""`python -m keepwarm` is the program `keepwarm`."""

from keepwarm.cli import main

main()
