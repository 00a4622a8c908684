//! The commands of the program, a file a command.

pub mod check;
