//! The app's webhook: `live_config/*` (protocol: rest §3). All of it is about the endpoint called
//! [`EndpointId::DEFAULT`]: its URL and command list ("the callback"), and its token. Either may be there without the
//! other; when neither is left, the endpoint is deleted. Changes hold from the next message on.

use std::sync::Arc;

use roomhook_protocol::{
    codes,
    envelope::Failure,
    rest::{GetCallbackPayload, Nothing, SetCallback, SetCallbackToken, TokenPayload},
};
use roomhook_room::{Endpoint, EndpointId, Token};
use roomhook_shard::Turn;

use super::{Call, answer::Outcome, route::Command};

pub(super) fn get(call: &Call<'_>) -> Outcome<GetCallbackPayload> {
    let Nothing {} = call.parse()?;
    let endpoint = configured(call)?;
    Ok(Some(GetCallbackPayload { url: endpoint.url.clone(), callback_command_list: endpoint.commands.clone() }))
}

pub(super) fn get_token(call: &Call<'_>) -> Outcome<TokenPayload> {
    let Nothing {} = call.parse()?;
    let endpoint = current(call);
    let token = endpoint.as_ref().and_then(|endpoint| endpoint.token.as_ref());
    let token = token.ok_or_else(|| Failure::of(codes::CALLBACK_TOKEN_MISSING))?;
    Ok(Some(TokenPayload { token: token.value.clone(), is_token_enable: token.enabled }))
}

/// The commands that change something: each reads the endpoint, changes it and writes it back, one at a time, whichever door
/// they come through.
pub(super) async fn change(command: Command, call: &Call<'_>) -> Outcome<Nothing> {
    let turn = call.engine(async { Ok(call.services.directory.turn().await) }).await?;
    match command {
        Command::SetCallback => {
            let request = callback_request(call)?;
            if configured(call).is_ok() {
                return Err(Failure::of(codes::CALLBACK_EXISTS));
            }
            let endpoint = current(call).map_or_else(|| unset(call), |endpoint| Endpoint::clone(&endpoint));
            put(call, turn, with_callback(endpoint, request)).await
        }
        Command::UpdateCallback => {
            let request = callback_request(call)?;
            let endpoint = Endpoint::clone(&*configured(call)?);
            put(call, turn, with_callback(endpoint, request)).await
        }
        Command::DeleteCallback => {
            let Nothing {} = call.parse()?;
            let endpoint = Endpoint::clone(&*configured(call)?);
            put_or_delete(call, turn, Endpoint { url: String::new(), commands: Vec::new(), ..endpoint }).await
        }
        Command::SetCallbackToken => {
            let request: SetCallbackToken<'_> = call.parse()?;
            request.check()?;
            let endpoint = current(call).map_or_else(|| unset(call), |endpoint| Endpoint::clone(&endpoint));
            let token = merged(endpoint.token.clone(), request)?;
            put(call, turn, Endpoint { token: Some(token), ..endpoint }).await
        }
        Command::DeleteCallbackToken => {
            let Nothing {} = call.parse()?;
            let endpoint = current(call).filter(|endpoint| endpoint.token.is_some());
            let endpoint = endpoint.ok_or_else(|| Failure::of(codes::CALLBACK_TOKEN_MISSING))?;
            put_or_delete(call, turn, Endpoint { token: None, ..Endpoint::clone(&endpoint) }).await
        }
        _ => Err(call.codes().misfit()),
    }
}

fn callback_request<'a>(call: &Call<'a>) -> Result<SetCallback<'a>, Failure> {
    let request: SetCallback<'_> = call.parse()?;
    request.check()?;
    Ok(request)
}

fn id() -> EndpointId {
    EndpointId(EndpointId::DEFAULT.to_owned())
}

fn current(call: &Call<'_>) -> Option<Arc<Endpoint>> {
    call.services.directory.endpoint(call.caller.app.id, &id())
}

/// The endpoint, if it has a URL.
fn configured(call: &Call<'_>) -> Result<Arc<Endpoint>, Failure> {
    let endpoint = current(call).filter(|endpoint| !endpoint.url.is_empty());
    endpoint.ok_or_else(|| Failure::of(codes::CALLBACK_MISSING))
}

fn unset(call: &Call<'_>) -> Endpoint {
    Endpoint::new(call.caller.app.id, id())
}

fn with_callback(endpoint: Endpoint, request: SetCallback<'_>) -> Endpoint {
    let mut commands: Vec<String> = Vec::with_capacity(request.callback_command_list.len());
    for command in request.callback_command_list {
        if !commands.iter().any(|known| *known == command) {
            commands.push(command.into_owned());
        }
    }
    Endpoint { url: request.url.into_owned(), commands, ..endpoint }
}

/// Both fields are required the first time; later, what is left out stays.
fn merged(token: Option<Token>, request: SetCallbackToken<'_>) -> Result<Token, Failure> {
    let (old_value, old_enabled) = token.map(|token| (token.value, token.enabled)).unzip();
    let value = request.token.map(|token| token.into_owned()).or(old_value);
    let missing =
        |field| Failure::new(codes::LIVE_BAD_PARAMETER, format!("{field} is missing, it is needed the first time"));
    Ok(Token {
        value: value.ok_or_else(|| missing("Token"))?,
        enabled: request.is_token_enable.or(old_enabled).ok_or_else(|| missing("IsTokenEnable"))?,
    })
}

async fn put(call: &Call<'_>, turn: Turn, endpoint: Endpoint) -> Outcome<Nothing> {
    call.engine(turn.put(endpoint)).await?;
    Ok(None)
}

async fn put_or_delete(call: &Call<'_>, turn: Turn, endpoint: Endpoint) -> Outcome<Nothing> {
    if endpoint.url.is_empty() && endpoint.token.is_none() {
        call.engine(turn.delete(endpoint.app, endpoint.id)).await?;
        return Ok(None);
    }
    put(call, turn, endpoint).await
}
