"""The jobs: read, think, write. But for those of cost, the only modules of analytics that touch the store.

Every job takes its times as arguments, so the same data and the same window give the same.
"""
