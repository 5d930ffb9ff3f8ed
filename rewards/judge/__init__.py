"""LLM-as-a-judge: a model behind an OpenAI-compatible server grades what no rule can. See docs/rewards/judge.md."""
