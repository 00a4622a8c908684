//! Formats of text that more than one room reads or writes.
