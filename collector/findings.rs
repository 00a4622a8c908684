//! What is wrong with an agent's file: every mistake and every warning, with its line.

use std::cell::RefCell;
use std::fmt;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// It works as it stands; many have wished afterwards that they had known.
    Advice,
    /// What stands there has no effect, or hardly the one that was meant.
    Warning,
    /// A component would be missing, or could not do what it is told.
    Mistake,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub weight: Weight,
    /// The line of the file that it is about, from 1; `None` where nothing stands that should.
    pub line: Option<usize>,
    /// The component that it is about, as `sources.r1`.
    pub component: Option<String>,
    /// What is wrong, and what to do.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        let weight = if self.weight == Weight::Mistake { "" } else { "warning: " };
        write!(f, "{weight}{}", self.text)
    }
}

/// All that was found so far.
#[derive(Debug, Default)]
pub struct Findings(RefCell<Vec<Finding>>);

impl Findings {
    /// Adds one.
    pub fn add(&self, finding: Finding) {
        self.0.borrow_mut().push(finding);
    }

    /// How many there are of this weight.
    pub fn count(&self, weight: Weight) -> usize {
        self.0.borrow().iter().filter(|finding| finding.weight == weight).count()
    }

    /// All, by line; what is missing comes last.
    pub fn into_sorted(self) -> Vec<Finding> {
        let mut all = self.0.into_inner();
        all.sort_by_key(|finding| (finding.line.unwrap_or(usize::MAX), finding.weight));
        all
    }

    /// Whether there is a mistake in this component.
    pub fn spoil(&self, component: &str) -> bool {
        self.0.borrow().iter().any(|finding| {
            finding.weight == Weight::Mistake && finding.component.as_deref() == Some(component)
        })
    }
}
