"""multistream-select: which protocol a stream carries. (specs/multistream.md)"""
