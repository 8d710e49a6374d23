"""What one host gives to others, in front of everything: who may connect, how many, from where, and for how long.

listener -> Gate -> Connections (pure) -> admitted, refused, and who makes room
"""
