//! Which documents of a file are new.

use std::collections::HashMap;
use std::ops::Range;

use crate::objects::Pool;

use super::documents::Document;
use super::parse::parse;
use super::state::DocumentState;

/// A file's documents as they are now, with those that are as they were taken over from before.
#[derive(Debug)]
pub(super) struct Renewal {
    /// In the order of the file.
    pub(super) documents: Vec<DocumentState>,
    /// Those that the file no longer holds.
    pub(super) gone: Vec<DocumentState>,
    /// Between the documents that are the same at the start and at the end.
    middle: Range<usize>,
    /// Of the middle, those that were read anew.
    anew: Vec<usize>,
}

impl Renewal {
    /// Finds what is the same at both ends, which is nearly everything after an edit. The rest is for [`Self::read`].
    pub(super) fn new(mut old: Vec<DocumentState>, found: &[Document<'_>]) -> Self {
        let same = |(one, two): &(&DocumentState, &Document<'_>)| one.hash == two.hash;
        let start = old.iter().zip(found).take_while(same).count();
        let rest = old.len().min(found.len()) - start;
        let ends = old.iter().rev().zip(found.iter().rev()).take(rest);
        let end = ends.take_while(same).count();
        let gone = old.splice(start..old.len() - end, []).collect();
        Self { documents: old, gone, middle: start..found.len() - end, anew: Vec::new() }
    }

    /// Takes over or reads what lies between the two ends.
    pub(super) fn read(&mut self, found: &[Document<'_>], pool: &mut Pool) {
        let mut known: HashMap<u128, DocumentState> =
            self.gone.drain(..).map(|document| (document.hash, document)).collect();
        let mut middle = Vec::with_capacity(self.middle.len());
        for (at, document) in found.iter().enumerate().take(self.middle.end).skip(self.middle.start)
        {
            middle.push(known.remove(&document.hash).unwrap_or_else(|| {
                self.anew.push(at);
                let parsed = parse(document, pool);
                DocumentState { hash: document.hash, lines_before: 0, parsed }
            }));
        }
        self.gone = known.into_values().collect();
        self.documents.splice(self.middle.start..self.middle.start, middle);
        for (document, found) in self.documents.iter_mut().zip(found) {
            document.lines_before = found.lines_before;
        }
    }

    /// Those that were read anew.
    pub(super) fn read_anew(&self) -> impl Iterator<Item = &DocumentState> {
        self.anew.iter().filter_map(|at| self.documents.get(*at))
    }

    /// Those that were taken over.
    pub(super) fn unchanged(&self) -> impl Iterator<Item = &DocumentState> {
        let is_anew = |at: &usize| self.anew.binary_search(at).is_ok();
        let documents = self.documents.iter().enumerate();
        documents.filter(move |(at, _)| !is_anew(at)).map(|(_, document)| document)
    }
}
