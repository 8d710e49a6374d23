"""The history of a room: the set of its signed messages, each named by its digest (specs/history.md).

bounds      which dates history has room for, and when an hour is closed
batch       up to 100 messages of one hour, as an object that is named by its content
day         the batches of a day
checkpoint  the days of a room: equal history gives an equal head
v1          the same as the published network writes it
errors      what is wrong with an object
record      what the objects share
"""
