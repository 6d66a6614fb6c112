"""What programs and pages are shown: the shapes of the HTTP interface, and the way there from the words of `model`.

Pure: data in, data out. It reads no ledger, knows no clock, and nothing of HTTP.
"""
