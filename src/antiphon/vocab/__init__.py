"""The o200k_harmony vocabulary: control tokens, id → bytes, and the tokenizer seam."""
