//! Handles belong to who opened them.

use serde_json::{Value, json};

use super::*;
use crate::command::Reply;
use crate::context::{Agent, Caller, Catalogue, CommandInfo, Settings};
use crate::limits::Limits;
use crate::qapi::Arguments;

struct Nothing;

impl Catalogue for Nothing {
    fn commands(&self, _: &Caller, _: bool) -> Vec<CommandInfo> {
        Vec::new()
    }
}

fn call(cx: &Context, name: &str, arguments: Value) -> Result<Value> {
    let command = COMMANDS.iter().find(|command| command.name == name).unwrap();
    let text = arguments.to_string().into_bytes();
    let length = text.len();
    match smol::block_on(command.call(cx, Arguments::new(text, 0..length)))? {
        Reply::Value(text) => Ok(serde_json::from_slice(&text).unwrap()),
        Reply::Pieces(_) => panic!("a small file comes at once"),
    }
}

#[test]
fn a_limited_channel_has_its_own_places_and_handles() {
    let site = Site::new();
    let settings = Settings::new(site.root.clone());
    let agent = Arc::new(Agent::new(&settings, Box::new(Nothing), &Arc::default()));
    let caller = Caller::Channel("limited".into());
    let host = Context { agent, caller: caller.clone(), limits: Arc::default() };
    let limits = Limits { owner: Some("limited".into()), file: site.places.clone(), ..Limits::default() };
    let limited = Context { limits: Arc::new(limits), ..host.clone() };
    let extension =
        Context { caller: Caller::Extension("limited".into(), Arc::new(caller)), ..limited.clone() };

    let file = json!({"path": site.path("place/file")});
    let secret = json!({"path": site.path("secret"), "mode": "a"});
    let error = call(&limited, "guest-file-open", secret.clone()).unwrap_err();
    assert!(error.is_refusal() && error.desc.ends_with(": not allowed by policy"), "{error}");
    let theirs = call(&host, "guest-file-open", secret).unwrap();
    let own = call(&limited, "guest-file-open", file.clone()).unwrap();
    let extensions = call(&extension, "guest-file-open", file).unwrap();
    let requests = [
        ("guest-file-read", json!({})),
        ("guest-file-write", json!({"buf-b64": ""})),
        ("guest-file-seek", json!({"offset": 0, "whence": "set"})),
        ("guest-file-flush", json!({})),
        ("guest-file-close", json!({})),
    ];
    for (cx, handles) in
        [(&limited, [&theirs, &extensions]), (&host, [&own, &extensions]), (&extension, [&own, &theirs])]
    {
        for handle in handles {
            for (name, arguments) in &requests {
                let mut arguments = arguments.clone();
                arguments["handle"] = handle.clone();
                let error = call(cx, name, arguments).unwrap_err();
                assert_eq!(error.desc, format!("handle '{handle}' has not been found"), "{name}");
            }
        }
    }
    let read = call(&limited, "guest-file-read", json!({"handle": own})).unwrap();
    assert_eq!((&read["count"], &read["eof"]), (&json!(4), &json!(true)));
    for (cx, handle) in [(&limited, own), (&host, theirs), (&extension, extensions)] {
        call(cx, "guest-file-close", json!({ "handle": handle })).unwrap();
    }
}
