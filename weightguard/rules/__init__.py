"""The law: dated text, values and status as data, logic as code that reads like the entry. One folder or file a regime."""
