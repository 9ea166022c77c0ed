//! Keeps an owner of the directory alive.

use std::sync::Arc;

use roomhook_log::Epoch;
use tokio::{
    sync::mpsc,
    time::{Duration, sleep},
};

use super::{
    fold::{Opened, open},
    owner::{Owner, Request},
    view::View,
};
use crate::{
    error::ExecuteError,
    inbox::Refuse as _,
    life::{Deps, Exit},
    reign::Take,
    supervisor::{Panicked, follow, live, stopped},
};

/// Between two tries to open the log again.
const REOPEN_PAUSE: Duration = Duration::from_millis(200);

/// What comes next in the life of the directory.
enum Next {
    Live(Box<Opened>),
    Reopen,
    /// Somebody else owns it.
    Follow {
        by: Epoch,
    },
    End,
}

/// Runs owners, one after the other, until the server stops. One that was deposed has no next one before somebody says so.
pub(super) async fn supervise(
    deps: Deps,
    view: Arc<View>,
    inbox: mpsc::Receiver<Request>,
    mut takes: mpsc::Receiver<Take>,
    opened: Opened,
) {
    let inbox = Arc::new(tokio::sync::Mutex::new(inbox));
    let mut next = Next::Live(Box::new(opened));
    loop {
        next = match next {
            Next::Live(opened) => {
                let inbox = Arc::clone(&inbox).lock_owned().await;
                let owner = Owner::new(deps.clone(), Arc::clone(&view), inbox, *opened);
                match live(&deps, owner.run(), &mut takes).await {
                    Ok(Exit::Stopped) => Next::End,
                    Ok(Exit::Reopen(reason)) => {
                        deps.health.set_refusing(&reason);
                        Next::Reopen
                    }
                    Ok(Exit::Deposed { by }) => Next::Follow { by },
                    Err(Panicked) => Next::Reopen,
                }
            }
            Next::Reopen => open_again(&deps, &view, &inbox).await,
            Next::Follow { by } => {
                let told = follow(&deps, &mut *inbox.lock().await, &mut takes, by).await;
                match told {
                    Some(take) => taken(&deps, &view, take, by).await,
                    None => Next::End,
                }
            }
            Next::End => return deps.seat.ends(),
        };
    }
}

/// Takes the directory again, as somebody said. Whoever asks meanwhile is refused at the door.
async fn taken(deps: &Deps, view: &View, take: Take, by: Epoch) -> Next {
    match open(deps, take.expect).await {
        Ok(opened) => {
            view.publish_all(&opened.folded.state);
            deps.health.set_ready();
            take.tell(Ok(opened.claim.epoch));
            Next::Live(Box::new(opened))
        }
        Err(error) => {
            let by = error.deposed_by().unwrap_or(by);
            take.tell(Err(error));
            Next::Follow { by }
        }
    }
}

/// Opens the log again, however many tries it takes, unless somebody else has claimed it.
async fn open_again(deps: &Deps, view: &View, inbox: &tokio::sync::Mutex<mpsc::Receiver<Request>>) -> Next {
    let mut told = String::new();
    loop {
        match open(deps, deps.own()).await {
            Ok(opened) => {
                view.publish_all(&opened.folded.state);
                deps.health.set_ready();
                return Next::Live(Box::new(opened));
            }
            Err(error) if let Some(by) = error.deposed_by() => return Next::Follow { by },
            Err(error) => {
                let reason = error.told();
                // Once per trouble, not five times a second until somebody restarts the server.
                if reason != told {
                    tracing::error!(reason, "the directory cannot be opened again");
                    told.clone_from(&reason);
                }
                deps.health.set_refusing(&reason);
                let mut inbox = inbox.lock().await;
                if *deps.stop.borrow() {
                    inbox.close();
                }
                while let Ok(request) = inbox.try_recv() {
                    request.refuse(ExecuteError::Unavailable(reason.clone()));
                }
                if inbox.is_closed() {
                    return Next::End;
                }
            }
        }
        let mut stop = deps.stop.clone();
        tokio::select! {
            biased;
            () = stopped(&mut stop) => {}
            () = sleep(REOPEN_PAUSE) => {}
        }
    }
}
