"""Operations: forward for a token, the bound on training that the weights give, and what claims and declarations make of it."""
