"""Training regions that are pooled from one map: batches of photographs, the step on them, teachers."""
