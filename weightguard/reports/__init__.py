"""The forms that a report is printed in, one file each."""
