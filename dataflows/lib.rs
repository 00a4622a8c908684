//! What online-recall computes: which articles are hot, which are new, and what to recall to whom.
//!
//! ```text
//!            ┌─▶ hot ─────────────────────────▶ increments of scores
//!  hits ─────┤
//!            └─▶ lookup ─▶ recall ────────────▶ recalls, one a cell and epoch
//!                  ▲         │  ▲
//!  similar ────────┘     asks▼  │history
//!                        (the job answers)
//!
//!  articles ───▶ new_article ────────────────▶ scores of new articles
//! ```
//!
//! Everything here is a function of its inputs, epoch by epoch: no I/O, no clock, no randomness, no
//! configuration. `clippy.toml` beside this file holds that door.

mod articles;
mod epoch;
mod flat;
mod history;
mod hot;
mod job;
mod model;
mod new_article;
#[cfg(test)]
mod oracle;
mod recall;
pub mod records;
mod route;
mod similar;
#[cfg(test)]
mod site;

pub use epoch::Epoch;
pub use history::{Cached, GENERATIONS};
pub use job::{Inputs, Outbox, Outputs, build};
pub use model::{
    Action, Article, Ask, Cell, Channel, History, Hit, HotIncrement, Neighbours, NewArticle, Order,
    Place, Recall, Settings, Ticket, User, UserBuffer, Weights, nearest,
};
pub use route::owner;
pub use similar::{Candidates, Row};
