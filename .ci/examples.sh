# shellcheck shell=bash
# The examples, how each is run, and what it must print. Sourced by .ci/run.
#
# One line for each run:
#
#   check NAME [-t SECONDS] [-x CODE] [-s] [-g FILE] [-e PATTERN]... [-a PATTERN] [-n LINES]
#         [-k TIMES] [-- ARGUMENT...]
#
#   -t  longest time (60 s)          -x  exit code (0)
#   -s  the order of lines is free   -g  golden file in examples/expected/ (NAME.txt)
#   -e  an extended regular expression that some line of standard output must match;
#       may stand several times. With it, no golden file is read.
#   -a  one that every line must match       -n  how many lines there must be
#   -k  how many times all children that it has are killed while it runs
#
#   check_each NAME ...     the same, once for each start method, which is added as the
#                           last argument
#
# Without -e standard output must be the golden file; a line there that begins with `~`
# is an extended regular expression for one whole line. With -s both sides are sorted, so
# that only plain lines can be used. Every file in examples/ has a line here, else the run fails.
examples_table() {
    # The main job: the exact result in spite of kills.
    check wordcount -t 120 -e '^the serial count is equal$' -e '^([5-9]|[0-9]{2,}) workers died' \
        -- . --crash 5
    check wordcount -t 120 -k 10 -e '^the serial count is equal$' -e ' [1-9][0-9]* restarts$' -- src
    check wordcount -t 120 -e '^the serial count is equal$' -- src --workers 2

    check_each hello
    check_each parent_and_child_lines
    # The children's lines come in any order.
    check_each ten_children -e '^Run Init!$' -e '^Run child process 9 \([0-9]+\)$' \
        -e '^Run End: 10 different pids$'
    check_each active_children -e '^CPU number: [0-9]+$' -e '^Process Ended$' -e '^Process: 4$' \
        -e '^Child process name: Process-5 id: [0-9]+$'
    check_each own_type
    check_each return_values -s
    check_each process_states
    check_each detached
    check_each isolation
    check_each memory_given_back
    check_each no_zombies
    check_each standard_input
    check_each subprocess

    # What processes share.
    check_each queue_items
    check_each join_before_get
    check_each worker_processes -e '^Unordered results:$' \
        -e '^.Process-[1-4] says that mul\(3, 7\) = 21$' \
        -e '^.Process-[5-8] says that add\(9, 8\) = 17$' \
        -e '^20 different results, all right$' -e '^10 different results, all right$'
    check_each reader_and_writer -e '^Put A to queue\.\.\.$' -e '^Get A from queue\.$' \
        -e '^Get C from queue\.$' -e '^The reader is done\.$' -e '^After a terminate: D$' -n 8
    check_each lock_as_argument
    check_each hello_lock -s
    check_each own_type_with_lock -n 60 -a '^Pid: [0-9]+ LoopCount: [0-9]+ of 1[0-4]$'
    check_each lock_for_a_loop -n 11 -e '^in one piece each: 20$'
    check_each producer_and_consumer -e '^Append an element 9$' -e '^Pop an element 9$' \
        -e '^Ended!$' -e '^its holder died: Process-3$' -n 22
    check_each rlock
    check_each bounded_semaphore
    check_each condition
    check_each event
    check_each barrier
    check_each deadlock_named -e '^refused: .*Process-' -e '^both have ended$'
    check_each value_and_array
    check_each arrays
    check_each lost_updates
    check_each shared_struct
    check_each shared_memory
    check_each pipe
    check_each pipe_duplex
    check_each pipe_service
    check_each pipe_wait

    # Programs that are no relatives.
    check_each listener

    # Pools.
    check_each executor
    check processes_or_threads
    check_each manager -e '^4 represent!$' -e '^\[0, 1, 2, 3, 4\]$' \
        -e '^\[\("a", "1"\)\] \[9, 8, 7, 6, 5, 4, 3, 2, 1, 0\]$' -e '^\[\{\}\]$' \
        -e '^\[\{"a": 1\}\]$' -e '^\[\("a", 1\)\]$' -e '^x=10 y=hello$'
    check_each manager_log -s
    check_each manager_race -e '^read and written: .* true$' -e '^in one step: -1$' \
        -e '^\[1, 2, 3\]$'
    check_each manager_own_type -e '^7 56$' -e '^19807040628566084398385987584$' -e '^68$' \
        -e '^mul is hidden: true$' -e '^\["Adder", "Maths"\]$'
    check_each manager_proxies -e '^you called Foo.f\(\)$' -e '^you called Foo._h\(\)$' \
        -e '^_h is hidden: true$' -e '^f is hidden: true$' -e '^<0> <1> .* <81> $' \
        -e 'add\(23, 45\) = 68$' -e 'pow\(2, 94\) = 19807040628566084398385987584$'
    # It has a thread of its own, so a fork is refused.
    check manager_remote -e '^a client got "hello"$' -e '^a client got "local hello"$' \
        -e '^another key is refused: true$' -e '^nobody is there: true$' -- spawn
    check manager_remote -e '^a client got "local hello"$' -- forkserver
    check_each task_master -e '^without a worker there is no result: true$' -e '^Put task 10...$' \
        -e '^Result: 10 \* 10 = 100$' -e '^task queue is empty$' -e '^master exit$'
    check task_master -e '^Result: 10 \* 10 = 100$' -e '^the worker has ended well: true$' \
        -- python
    check_each pool_map
    check_each pool_steps
    check_each pool_timeouts -x 1
    check_each pool_names
    check_each pool_apply
    check_each pool_overlap -s
    check_each pool_many
    check_each pool_one_at_a_time
    check_each pool_errors
    check pool_pages -e '^parse /a in the parent: [0-9]+$' -e '^parse /bcd in the parent: [0-9]+$' \
        -e '^get /a in a worker: true, found: true$' -e '^get /gone in a worker: true, found: false$' \
        -e '^url: /bcd, size: 300$' -n 7
    check crashy
    check render -t 120 -e '^the pictures are equal: true$' -e '^[0-9]+ bytes in a PNG$' -- --size 200

    # These go through the start methods by themselves.
    check implicit_lock
    check process_ids
    check no_main_guard
    check start_methods
    check contexts
    check statics
    check fork_and_caches

    # Run by the step of its own.
    elsewhere chaos
    # Its long form, --starts 100000, is for hand.
    check soak -t 120 -e . -- --starts 1000
}

# ---------------------------------------------------------------- machinery

# Those that run as released code.
released_examples=(wordcount render soak)

# Runs all, from a folder of what cargo has built.
run_examples() {
    examples_folder=$1
    examples_failed=0
    examples_named=" "
    examples_table
    local file name
    for file in examples/*.rs examples/*/main.rs; do
        [[ -e $file ]] || continue
        name=$(basename "${file%/main.rs}" .rs)
        if [[ $examples_named != *" $name "* ]]; then
            echo "FAILED  $name: no line in .ci/examples.sh says what it must print"
            examples_failed=$((examples_failed + 1))
        fi
    done
    ((examples_failed == 0))
}

# The start methods that examples run under.
example_methods=(spawn forkserver fork)

check_each() {
    local method dashes=--
    # The arguments of the example follow a `--`, and there is one at most.
    [[ " $* " == *" -- "* ]] && dashes=
    for method in "${example_methods[@]}"; do
        check "$@" ${dashes:+"$dashes"} "$method"
    done
}

elsewhere() { examples_named+="$1 "; }

check() {
    local name=$1 seconds=60 wanted=0 sorted=no golden=$1.txt patterns=() all="" lines="" kills=0
    shift
    while (($# > 0)); do
        case $1 in
        -t) seconds=$2 && shift 2 ;;
        -x) wanted=$2 && shift 2 ;;
        -s) sorted=yes && shift ;;
        -g) golden=$2 && shift 2 ;;
        -e) patterns+=("$2") && shift 2 ;;
        -a) all=$2 && shift 2 ;;
        -n) lines=$2 && shift 2 ;;
        -k) kills=$2 && shift 2 ;;
        --) shift && break ;;
        *) echo "FAILED  $name: unknown option $1 in .ci/examples.sh" && return 1 ;;
        esac
    done
    examples_named+="$name "
    if [[ ! -e examples/$name.rs && ! -e examples/$name/main.rs ]]; then
        echo "FAILED  $name: there is no such example"
        return 1
    fi
    local profile=debug
    [[ " ${released_examples[*]} " == *" $name "* ]] && profile=release
    local program=$examples_folder/$profile/examples/$name
    local label="$name${*:+ $*}" code=0 begun=$SECONDS why=""
    # ${out} and ${err} live in the scratch folder of .ci/run.
    local out=$scratch/out err=$scratch/err
    timeout --kill-after=5 "$seconds" "$program" "$@" >"$out" 2>"$err" &
    kill_children_of "$!" "$kills"
    wait "$!" || code=$?
    if ((code == 124 || code == 137)); then
        why="took longer than $seconds s"
    elif ((code != wanted)); then
        why="exit code $code, not $wanted"
    elif [[ -n $lines ]] && (($(wc -l <"$out") != lines)); then
        why="not $lines lines"
    elif [[ -n $all ]] && grep -qvE -- "$all" "$out"; then
        why="a line does not match $all"
    elif ((${#patterns[@]} > 0)) || [[ -n $all ]]; then
        local pattern
        for pattern in "${patterns[@]}"; do
            if ! grep -qE -- "$pattern" "$out"; then
                why="no line matches $pattern"
                break
            fi
        done
    else
        why=$(differences "$out" "examples/expected/$golden" "$sorted")
    fi
    if [[ -z $why ]]; then
        printf 'ok      %s (%d s)\n' "$label" $((SECONDS - begun))
        return
    fi
    examples_failed=$((examples_failed + 1))
    printf 'FAILED  %s: %s\n' "$label" "$why"
    echo "--- standard output" && tail -n 40 "$out"
    echo "--- standard error" && tail -n 40 "$err"
}

# Kills, so many times, all that a program has started which runs under `timeout`.
kill_children_of() {
    local timeout=$1 times=$2 program
    while ((times-- > 0)); do
        sleep 0.1
        # A short number comes with blanks before it, which make it no number for --ppid.
        program=$(ps -o pid= --ppid "$timeout" | tr -d ' ' || true)
        ps -o pid= --ppid "$program" 2>/dev/null |
            xargs --no-run-if-empty kill -KILL 2>/dev/null || true
    done
}

# Prints how the output differs from a golden file; nothing when it does not.
differences() {
    local out=$1 golden=$2 sorted=$3
    if [[ ! -e $golden ]]; then
        echo "there is no $golden, and no -e in .ci/examples.sh"
        return
    fi
    if [[ $sorted == yes ]]; then
        diff <(LC_ALL=C sort "$golden") <(LC_ALL=C sort "$out") || true
        return
    fi
    local want have at=0
    while :; do
        at=$((at + 1))
        local more_wanted=yes more_had=yes
        IFS= read -r want <&3 || more_wanted=no
        IFS= read -r have <&4 || more_had=no
        if [[ $more_wanted$more_had == nono ]]; then
            return
        elif [[ $more_wanted == no ]]; then
            echo "line $at is one too many: $have"
            return
        elif [[ $more_had == no ]]; then
            echo "line $at is missing: $want"
            return
        elif [[ $want == "~"* ]]; then
            if ! [[ $have =~ ^(${want#\~})$ ]]; then
                echo "line $at is: $have; wanted: $want"
                return
            fi
        elif [[ $want != "$have" ]]; then
            echo "line $at is: $have; wanted: $want"
            return
        fi
    done 3<"$golden" 4<"$out"
}
