"""Where problems come from: two generated families (math, code), general chat, and files; no torch here."""
