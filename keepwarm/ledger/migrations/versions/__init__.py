"""One file per change of the tables; a published one is never edited.

To add one, copy the newest, give it the next number and name the former in `down_revision`.
"""
