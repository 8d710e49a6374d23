"""Payments: x402 objects, checked and made here without asking anybody. (specs/payments.md)"""
