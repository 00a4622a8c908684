//! Neighbours and history, read.

use dataflows::{Article, Cell, History, Neighbours};
