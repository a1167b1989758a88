//! Lines as a whole.

use super::*;

#[test]
fn callers_are_told_outermost_first() {
    let channel = Caller::Channel("port".into());
    let outer = Caller::Extension("outer".into(), channel.into());
    let caller = Caller::Extension("inner".into(), outer.into());
    assert_eq!(callers(&caller), ["port", "outer", "inner"]);
}
