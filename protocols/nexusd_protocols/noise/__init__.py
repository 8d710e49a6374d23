"""The Noise protocol of libp2p (`/noise`), after its handshake. (specs/noise.md)"""
