//! Questions that several have at the same time: asked once, and answered to all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::remembered::Digest;

/// What is being asked about, by what it is about.
pub(crate) struct Together<V> {
    asking: Mutex<HashMap<Digest, Answer<V>>>,
    /// Most questions at a time.
    most: usize,
}

/// `None` until it is there.
type Answer<V> = watch::Receiver<Option<V>>;

impl<V: Clone + Send + Sync + 'static> Together<V> {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { asking: Mutex::default(), most })
    }

    /// The answer that is on its way, or that is asked for now, on this runtime. `None`: too many are.
    ///
    /// Whoever asks first may leave: others wait for the same answer.
    pub(crate) fn ask<F: Future<Output = V> + Send + 'static>(
        self: &Arc<Self>,
        about: Digest,
        on: &Handle,
        ask: impl FnOnce() -> F,
    ) -> Option<Waits<V>> {
        let mut asking = self.asking();
        if let Some(answer) = asking.get(&about) {
            return Some(Waits(answer.clone()));
        }
        if asking.len() >= self.most {
            return None;
        }
        let (tells, answer) = watch::channel(None);
        asking.insert(about, answer.clone());
        drop(asking);
        let (asked, asking) = (Asked { own: Arc::clone(self), about }, ask());
        on.spawn(async move {
            let told = asking.await;
            drop(asked);
            let _ = tells.send(Some(told));
        });
        Some(Waits(answer))
    }

    /// How many are being asked.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.asking().len()
    }

    fn asking(&self) -> MutexGuard<'_, HashMap<Digest, Answer<V>>> {
        self.asking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is being asked about; not any more once this is dropped, also if asking panics.
struct Asked<V: Clone + Send + Sync + 'static> {
    own: Arc<Together<V>>,
    about: Digest,
}

impl<V: Clone + Send + Sync + 'static> Drop for Asked<V> {
    fn drop(&mut self) {
        self.own.asking().remove(&self.about);
    }
}

/// An answer to wait for.
pub(crate) struct Waits<V>(Answer<V>);

impl<V: Clone> Waits<V> {
    /// The answer; `None`: nobody answers any more.
    pub(crate) async fn answer(mut self) -> Option<V> {
        self.0.wait_for(Option::is_some).await.ok()?.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;
    use crate::remembered::digest;

    #[tokio::test]
    async fn one_question_is_asked_for_all_who_have_it() {
        let (together, may, asked) = (Together::new(2), Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
        let ask = |about: &str| {
            let (may, asked, text) = (Arc::clone(&may), Arc::clone(&asked), about.to_owned());
            together.ask(digest(about), &Handle::current(), || async move {
                asked.fetch_add(1, Ordering::Relaxed);
                let _may = may.acquire().await.unwrap();
                text
            })
        };
        let (first, again, other) = (ask("a").unwrap(), ask("a").unwrap(), ask("b").unwrap());
        assert!(ask("c").is_none(), "two at a time");
        may.add_permits(9);
        assert_eq!((first.answer().await, again.answer().await), (Some("a".to_owned()), Some("a".to_owned())));
        assert_eq!((other.answer().await, asked.load(Ordering::Relaxed)), (Some("b".to_owned()), 2));
        assert_eq!(ask("a").unwrap().answer().await.as_deref(), Some("a"), "what is answered is asked anew");
    }

    #[tokio::test]
    async fn a_question_that_breaks_is_not_asked_for_ever() {
        let together = Together::<u8>::new(1);
        let broken = together.ask(digest("a"), &Handle::current(), || async { panic!("as it happens") });
        assert_eq!(broken.unwrap().answer().await, None);
        let again = together.ask(digest("a"), &Handle::current(), || async { 1 });
        assert_eq!(again.unwrap().answer().await, Some(1));
    }
}
