# The guest's end of the tests' shell: serves the port that /etc/guest/shell-port names, for ever.
# A command is a line; the answer is "STATUS SIZE", a newline, and as many bytes of output.
# Reads are at an end as long as the host has not connected.
port=/dev/virtio-ports/$(cat /etc/guest/shell-port)
until [ -e "$port" ]; do sleep 0.1; done
exec 3<>"$port"
while :; do
    while IFS= read -r line <&3; do
        (eval "$line") </dev/null >/run/shell-output 2>&1 3>&-
        echo "$? $(stat -c %s /run/shell-output)" >&3
        cat /run/shell-output >&3
    done
    sleep 0.1
done
