//! From a host name to addresses. A trait, so that tests can change the answer under the guard's eyes.

use std::{fmt, io, net::SocketAddr, sync::Arc};

use ahash::AHashMap;
use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::watch;

/// Looks up host names.
#[async_trait]
pub trait Resolve: Send + Sync + fmt::Debug {
    /// All addresses of a host, best first.
    ///
    /// # Errors
    /// When the name has none, or nobody could be asked. Cancel safe.
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// Asks the operating system, about each name once at a time.
///
/// A lookup holds one of the runtime's threads for blocking work until it ends, which no deadline of ours makes any sooner.
/// A name whose servers do not answer would take one for each attempt, until nothing is left for others' names.
#[derive(Debug, Default)]
pub struct SystemResolver(Together<System>);

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        self.0.resolve(host, port).await
    }
}

#[derive(Debug, Default)]
struct System;

#[async_trait]
impl Resolve for System {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((host, port)).await?.collect())
    }
}

/// Lets all who ask for the same name at the same time share one answer.
#[derive(Debug, Default)]
struct Together<R> {
    inner: Arc<R>,
    asked: Arc<Asked>,
}

/// The lookups that are under way.
type Asked = Mutex<AHashMap<(String, u16), watch::Receiver<Option<Answer>>>>;
type Answer = Result<Vec<SocketAddr>, (io::ErrorKind, String)>;

#[async_trait]
impl<R: Resolve + 'static> Resolve for Together<R> {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let name = (host.to_owned(), port);
        let mut answer = {
            let mut asked = self.asked.lock();
            match asked.get(&name) {
                Some(answer) => answer.clone(),
                None => {
                    let (tell, answer) = watch::channel(None);
                    asked.insert(name.clone(), answer.clone());
                    let lookup = Lookup { asked: self.asked.clone(), name };
                    // Goes on when all who asked have given up: its thread is taken anyway.
                    tokio::spawn(lookup.run(self.inner.clone(), tell));
                    answer
                }
            }
        };
        let gone = |_| io::Error::other("the lookup panicked");
        let answer = answer.wait_for(Option::is_some).await.map_err(gone)?.clone();
        answer.unwrap_or_else(|| Ok(Vec::new())).map_err(|(kind, text)| io::Error::new(kind, text))
    }
}

/// One lookup. Its end, of whatever kind, lets the next one for the name begin.
struct Lookup {
    asked: Arc<Asked>,
    name: (String, u16),
}

impl Lookup {
    async fn run(self, inner: Arc<impl Resolve>, tell: watch::Sender<Option<Answer>>) {
        let found = inner.resolve(&self.name.0, self.name.1).await;
        let answer = found.map_err(|error| (error.kind(), error.to_string()));
        // Before anybody hears of it: whoever asks after the answer gets a newer one.
        drop(self);
        tell.send_replace(Some(answer));
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        self.asked.lock().remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU16, Ordering},
        time::Duration,
    };

    use tokio::{sync::Semaphore, task::JoinSet, time::timeout};

    use super::*;

    /// Answers with how often it was asked, once it may.
    #[derive(Debug)]
    struct Slow {
        asked: AtomicU16,
        may_answer: Semaphore,
    }

    impl Slow {
        fn together() -> Arc<Together<Self>> {
            let inner = Arc::new(Self { asked: AtomicU16::new(0), may_answer: Semaphore::new(0) });
            Arc::new(Together { inner, asked: Arc::default() })
        }
    }

    #[async_trait]
    impl Resolve for Slow {
        async fn resolve(&self, host: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
            let asked = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
            self.may_answer.acquire().await.expect("open").forget();
            match host {
                "none.example" => Err(io::Error::new(io::ErrorKind::NotFound, "no such name")),
                "panic.example" => panic!("as told"),
                _ => Ok(vec![SocketAddr::from(([192, 0, 2, 1], asked))]),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_is_not_answered_is_asked_for_once_however_many_wait_and_give_up() {
        let names = Slow::together();
        for _ in 0..100 {
            let gave_up = timeout(Duration::from_millis(1), names.resolve("slow.example", 80)).await;
            assert!(gave_up.is_err());
        }
        assert_eq!(names.inner.asked.load(Ordering::SeqCst), 1);
        let mut waiting = JoinSet::new();
        for _ in 0..10 {
            let names = names.clone();
            waiting.spawn(async move { names.resolve("slow.example", 80).await.expect("an answer") });
        }
        tokio::task::yield_now().await;
        names.inner.may_answer.add_permits(1);
        for answer in waiting.join_all().await {
            assert_eq!(answer, ["192.0.2.1:1".parse().expect("address")]);
        }
        names.inner.may_answer.add_permits(1);
        let next = names.resolve("slow.example", 80).await.expect("an answer");
        assert_eq!(next, ["192.0.2.1:2".parse().expect("address")], "who asks later gets a newer answer");
        assert!(names.asked.lock().is_empty(), "nothing is remembered");
    }

    #[tokio::test]
    async fn an_error_is_told_to_all_and_a_panic_ends_one_lookup_only() {
        let names = Slow::together();
        names.inner.may_answer.add_permits(3);
        let missing = names.resolve("none.example", 80).await.expect_err("no address");
        assert_eq!((missing.kind(), missing.to_string().as_str()), (io::ErrorKind::NotFound, "no such name"));
        assert!(names.resolve("panic.example", 80).await.is_err());
        assert!(names.asked.lock().is_empty());
        assert!(names.resolve("well.example", 80).await.is_ok());
    }
}
