--- Terminals: requests that are made from a pseudo-terminal, which script(1) makes.

local rows = {}

-- `session` runs in the terminal; `keys`, beside it, types: descriptor 8 is the keyboard, and `await TEXT` waits until
-- the screen shows the text. Both have the program in "$@". The screen becomes standard output.
local HARNESS = [[
mkfifo keyboard; exec 8<>keyboard
await() { until grep -q "$1" screen; do sleep 0.02; done; }
{ printf 'set --'; for word; do printf " '%%s'" "$word"; done; cat; } >session <<'END'

await() { until grep -q "$1" screen; do sleep 0.02; done; }
%s
END
: >screen; script -qec 'exec sh session' /dev/null <keyboard >screen 8<&- & script=$!
%s
wait $script; status=$?
tr -d '\r' <screen | sed 's/ *$//'; rm keyboard session screen
exit $status]]

-- crun 1.8 is not compared: it hangs as a background job, passes a terminal through, and sometimes writes errors to it.
local function add(row)
  row.name, row.shell = "terminal: " .. row.name, HARNESS:format(row.session, row.keys or "")
  row.session, row.keys, row.only = nil, nil, "runc"
  rows[#rows + 1] = row
end

add { name = "report", session = [["$@" exec -t @ID@ /report]] }
add { name = "all three streams",
  session = [["$@" exec -t @ID@ sh -c 'tty; test -t 0 && test -t 1 && test -t 2 && echo all']] }
add { name = "as another user",
  session = [["$@" exec -t -u 1000 @ID@ sh -c 'echo by name >/dev/stdout; stat -c %u $(tty)']] }
add { name = "exit status", session = [["$@" exec -t @ID@ sh -c 'exit 7']] }
add { name = "not asked for",
  session = [["$@" exec @ID@ sh -c 'test -t 0 || test -t 1 || test -t 2 || echo none; tty']] }
add { name = "by process file", session = [[
  echo '{"terminal":true,"args":["/bin/tty"],"cwd":"/"}' >p.json; "$@" exec -p p.json @ID@; rm p.json]] }
add { name = "console socket without --detach", session = [["$@" exec -t --console-socket /nosuch @ID@ true]] }
add { name = "missing command", session = [["$@" exec -t @ID@ nosuch]] }
add { name = "missing interpreter", session = [["$@" exec -t @ID@ /badinterpreter]],
  differs = "runc 1.1 leaves it to the process", expect = { "status: 255",
    { "^stdout: .*exec failed: unable to start container process: exec /badinterpreter: no such file or dir%a+$" } } }

-- The caller's terminal is /dev/tty when no stream is one.
add { name = "stdin is /dev/null, stdout a pipe", session = [["$@" exec -t @ID@ tty </dev/null 2>/dev/null | cat]] }
add { name = "no stream is one", session = [[
  "$@" exec -t @ID@ tty </dev/null >out 2>err; echo "status $?"; cat out err; rm out err]] }

-- runc and crun set the size after the start.
add { name = "size",
  session = [[stty rows 33 cols 77; "$@" exec -t @ID@ sh -c 'sleep 0.3; stty size']] }
add { name = "size by process file is the caller's", session = [[stty rows 33 cols 77
  echo '{"terminal":true,"consoleSize":{"height":9,"width":99},"cwd":"/",
    "args":["/bin/sh","-c","sleep 0.3; stty size"]}' >p.json
  "$@" exec -p p.json @ID@; rm p.json]] }
add { name = "resize", session = [[
  "$@" exec -t @ID@ sh -c 'trap "stty size; exit" WINCH; echo ready; while :; do sleep 0.02; done' <&0 &
  await ready; sleep 0.3; stty rows 44 cols 99; wait]] }

-- Settings
add { name = "settings", session = [["$@" exec -t @ID@ sh -c 'sleep 0.3; stty -a']] }
add { name = "restored at the end", session = [[stty -g >before
  "$@" exec -t @ID@ sh -c 'echo ready; sleep 0.3'; stty -g | cmp - before && echo same; rm before]] }
add { name = "restored when ended by TERM", session = [[stty -g >before
  "$@" exec -t @ID@ sh -c 'echo ready; sleep 20' <&0 & await ready; sleep 0.3
  kill -TERM $!; wait $!; echo "status $?"; stty -g | cmp - before && echo same; rm before]] }

-- Keys
add { name = "ctrl-C", session = [[
  "$@" exec -t @ID@ sh -c 'trap "echo interrupted; exit 5" INT; echo ready; while :; do sleep 0.02; done']],
  keys = [[await ready; printf '\003' >&8]] }
add { name = "ctrl-D", session = [["$@" exec -t @ID@ sh -c 'echo ready; cat; echo end']],
  keys = [[await ready; printf 'line\n\004' >&8]] }
-- The quotes in what is typed keep its echo from being taken for the output.
add { name = "job control", session = [["$@" exec -t @ID@ sh]], keys = [[
  await '/ #'
  echo "sh -c 'trap \"echo go\"ing CONT; echo star\"\"ted; while :; do sleep 0.02; done'" >&8
  await started; printf '\032' >&8; await Stopped; echo fg >&8; await going; printf '\003' >&8
  sleep 0.3; echo 'exit 3' >&8]] }

return rows
