//! What `waga schema` prints as QAPI.

use expect_test::expect;

use super::check;

#[test]
fn schema_as_qapi() {
    check(
        "waga",
        &[],
        &["schema", "guest-file-seek", "--format=qapi"],
        &expect![[r#"
        # -*- Mode: Python -*-
        # vim: filetype=python
        #
        # Made by waga schema.

        ##
        # @Whence:
        #
        # What an offset counts from.
        #
        # @set: The beginning of the file.
        #
        # @cur: Where the position is.
        #
        # @end: The end of the file.
        ##
        { 'enum': 'Whence',
          'data': [ 'set',
                    'cur',
                    'end' ] }

        ##
        # @GuestFileSeekWhence:
        #
        # @word: the word for it
        #
        # @number: what older clients write for it
        ##
        { 'alternate': 'GuestFileSeekWhence',
          'data': { 'word': 'Whence',
                    'number': 'int' } }

        ##
        # @FileSeek:
        #
        # Where the position is now.
        #
        # @position: Bytes from the beginning of the file, which may lie
        #     beyond its end.
        #
        # @eof: Always false.
        ##
        { 'struct': 'FileSeek',
          'data': { 'position': 'uint64',
                    'eof': 'bool' } }

        ##
        # @guest-file-seek:
        #
        # Moves a file's position.
        #
        # @handle: which file
        #
        # @offset: bytes, also backwards
        #
        # @whence: what they count from
        ##
        { 'command': 'guest-file-seek',
          'data': { 'handle': 'int',
                    'offset': 'int',
                    'whence': 'GuestFileSeekWhence' },
          'returns': 'FileSeek' }
    "#]],
    );
    check(
        "waga",
        &[],
        &["schema", "guest-get-cpustats", "--format=qapi"],
        &expect![[r#"
        # -*- Mode: Python -*-
        # vim: filetype=python
        #
        # Made by waga schema.

        ##
        # @CpuStatsType:
        #
        # The cases of CpuStats.
        #
        # @linux: As Linux counts it.
        ##
        { 'enum': 'CpuStatsType',
          'data': [ 'linux' ] }

        ##
        # @CpuStatsLinux:
        #
        # As Linux counts it.
        #
        # @cpu: The processor's number.
        #
        # @user: In programs.
        #
        # @nice: In programs of low priority.
        #
        # @system: In the kernel.
        #
        # @idle: With nothing to do.
        #
        # @iowait: With nothing to do but wait for a device.
        #
        # @irq: Serving interrupts.
        #
        # @softirq: Serving what interrupts left for later.
        #
        # @steal: Taken by the host for others.
        #
        # @guest: Running guests of the guest's own.
        #
        # @guestnice: Running such guests of low priority.
        ##
        { 'struct': 'CpuStatsLinux',
          'data': { 'cpu': 'uint32',
                    'user': 'uint64',
                    'nice': 'uint64',
                    'system': 'uint64',
                    'idle': 'uint64',
                    '*iowait': 'uint64',
                    '*irq': 'uint64',
                    '*softirq': 'uint64',
                    '*steal': 'uint64',
                    '*guest': 'uint64',
                    '*guestnice': 'uint64' } }

        ##
        # @CpuStats:
        #
        # What a processor did since the guest started.
        #
        # @type: which case it is
        ##
        { 'union': 'CpuStats',
          'base': { 'type': 'CpuStatsType' },
          'discriminator': 'type',
          'data': { 'linux': 'CpuStatsLinux' } }

        ##
        # @guest-get-cpustats:
        #
        # Tells what each processor that is on did since the guest started.
        ##
        { 'command': 'guest-get-cpustats',
          'returns': ['CpuStats'] }
    "#]],
    );
}
