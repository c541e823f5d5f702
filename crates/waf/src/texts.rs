//! The texts of a request, and what transformations make of them: each list of transformations once for each text.

use crate::pipeline::Pipelines;

/// Not made yet.
const NONE: u32 = u32::MAX;

/// Texts, by their numbers.
#[derive(Debug)]
pub(crate) struct Texts<'r> {
    pipelines: &'r Pipelines,
    bytes: Vec<u8>,
    own: Vec<(usize, usize)>,
    made: Vec<(usize, usize)>,
    /// For each own text and each list, the number of what was made, or [`NONE`].
    known: Vec<u32>,
    scratch: Vec<u8>,
}

/// A text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Text {
    /// As it came.
    Own(usize),
    /// Transformed.
    Made(usize),
}

impl<'r> Texts<'r> {
    pub(crate) fn new(pipelines: &'r Pipelines) -> Self {
        Self {
            pipelines,
            bytes: Vec::with_capacity(4096),
            own: Vec::new(),
            made: Vec::new(),
            known: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// One more.
    pub(crate) fn add(&mut self, text: &[u8]) -> usize {
        let start = self.bytes.len();
        self.bytes.extend(text);
        self.own.push((start, self.bytes.len()));
        self.known.resize(self.own.len() * self.pipelines.len(), NONE);
        self.own.len() - 1
    }

    pub(crate) fn get(&self, text: Text) -> &[u8] {
        let span = match text {
            Text::Own(number) => self.own.get(number),
            Text::Made(number) => self.made.get(number),
        };
        span.and_then(|(start, end)| self.bytes.get(*start..*end)).unwrap_or_default()
    }

    pub(crate) fn length(&self, own: usize) -> usize {
        self.own.get(own).map_or(0, |(start, end)| end - start)
    }

    /// What a list of transformations makes of a text; `work` grows by what that took.
    pub(crate) fn transformed(&mut self, own: usize, pipeline: usize, work: &mut usize) -> Text {
        let Some((parent, apply)) = self.pipelines.step(pipeline) else { return Text::Own(own) };
        let place = own * self.pipelines.len() + pipeline;
        match self.known.get(place) {
            // The text itself: it did not change.
            Some(0) => return Text::Own(own),
            Some(number) if *number != NONE => return Text::Made(*number as usize - 1),
            _ => {}
        }
        // As deep as a rule has transformations.
        let from = self.transformed(own, parent, work);
        let mut to = std::mem::take(&mut self.scratch);
        to.clear();
        let text = self.get(from);
        apply(text, &mut to);
        *work += 16 + text.len();
        let made = if to == text { from } else { self.make(&to) };
        self.scratch = to;
        if let Some(known) = self.known.get_mut(place) {
            *known = match made {
                Text::Own(_) => 0,
                Text::Made(number) => u32::try_from(number + 1).unwrap_or(NONE),
            };
        }
        made
    }

    fn make(&mut self, text: &[u8]) -> Text {
        let start = self.bytes.len();
        self.bytes.extend(text);
        self.made.push((start, self.bytes.len()));
        Text::Made(self.made.len() - 1)
    }

    /// The same for a text that is none of these.
    pub(crate) fn transform(&self, text: Vec<u8>, pipeline: usize) -> Vec<u8> {
        let mut text = text;
        for stage in self.pipelines.stages(pipeline) {
            if let Some((_, apply)) = self.pipelines.step(stage) {
                let mut to = Vec::with_capacity(text.len());
                apply(&text, &mut to);
                text = to;
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_is_transformed_once_for_each_list() {
        let mut pipelines = Pipelines::default();
        let decoded = pipelines.then(0, "urlDecodeUni").unwrap();
        let lower = pipelines.then(decoded, "lowercase").unwrap();
        let mut texts = Texts::new(&pipelines);
        let (a, b) = (texts.add(b"%41b"), texts.add(b"plain"));
        let mut work = 0;
        let made = texts.transformed(a, lower, &mut work);
        assert_eq!(texts.get(made), b"ab");
        let took = work;
        assert_eq!((texts.transformed(a, lower, &mut work), work), (made, took));
        let decoded = texts.transformed(a, decoded, &mut work);
        assert_eq!((texts.get(decoded), work), (&b"Ab"[..], took));
        assert_eq!(texts.transformed(b, lower, &mut work), Text::Own(b));
        assert_eq!(texts.transformed(b, 0, &mut work), Text::Own(b));
        assert_eq!(texts.transform(b"%41B".to_vec(), lower), b"ab");
    }
}
