//! `exec` of an extension: the programs that it may run.

use toml::Spanned;
use waga_builtins::exec::Rule;

use super::super::ConfigError;
use super::super::extension::GrantedProgram;
use super::super::schema::ProgramTable;
use super::Source;

impl Source<'_> {
    /// The entries are those of `[policy.exec]`, but that a component sets no variables of a program.
    pub(super) fn programs(
        &self,
        list: &[Spanned<ProgramTable>],
    ) -> Result<Vec<GrantedProgram>, ConfigError> {
        let granted = |entry: &Spanned<ProgramTable>| {
            let ProgramTable { program, args, env } = entry.get_ref().clone();
            let rule = Rule::new(&program, &args, &env);
            let rule = rule.map_err(|text| self.error(&entry.span(), text))?;
            if let Some(name) = env.iter().find(|entry| !entry.contains('=')) {
                let text = format!(
                    "the variable '{name}' of '{program}' has no value: write NAME=value, for an extension sets none itself"
                );
                return Err(self.error(&entry.span(), text));
            }
            Ok(GrantedProgram { program, args, env, rule })
        };
        list.iter().map(granted).collect()
    }
}
