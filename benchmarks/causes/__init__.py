"""How often the true cause is named first: on public sets of labelled incidents, beside what others would say."""
