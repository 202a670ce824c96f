"""Rules of the owner word's protocol, each with what the code is without it and the property that breaks then.

mutants.py --list               name|file|property|scenario, one per line
mutants.py NAME SOURCE TARGET   the file of the mutant, with its folder's others if it is a header
"""
import pathlib
import shutil
import sys

# name, file, property, scenario, [(text, what it becomes)]; each text is in the file exactly once.
MUTANTS = [
    ("take_any_partner", "proxy/kpath.c", "no lost return", "a connection is taken twice",
     [("while (owner_lease(w) == ref && !(w & OWNER_USER)", "while (!(w & OWNER_USER)"),
      ("    if (owner_lease(w) != ref)\n        return false;\n    _taken(p)", "    _taken(p)")]),
    ("lease_any_generation", "bpf/owner.h", "no delivery to a dead generation", "slots are used again",
     [("owner_gen(w) != ref_gen(uref) || !(w & OWNER_UP) || ", "")]),
    ("ref_before_the_insert", "proxy/kpath_pool.c", "no delivery to a dead generation", "insertions fail",
     [("        u->pool_index = i;\n", "        u->pool_index = i;\n        _pool(u)->ref[i] = slot_ref(u->slot, "
       "u->worker->kpath->k->gens[u->slot]);\n"),
      ("kpath_pool_unplace(struct conn *u)\n{\n    u->pool_index = UINT32_MAX;", "kpath_pool_unplace(struct conn *u)\n{\n    kpath_pool_leave(u);")]),
    ("lease_what_userspace_owns", "bpf/owner.h", "no double lease", "a connection is taken twice", [("(w & (OWNER_USER | OWNER_BUSY))", "(w & OWNER_BUSY)")]),
    ("upstream_word_cleared_first", "bpf/response.h", "no double lease", "a connection is taken twice",
     [("    lease_clear(d);\n    __sync_fetch_and_and(&s->owner, ~(OWNER_LEASE_MASK | OWNER_BUSY));",
       "    __sync_fetch_and_and(&s->owner, ~(OWNER_LEASE_MASK | OWNER_BUSY));\n    lease_clear(d);")]),
    ("returned_without_a_bit", "bpf/response.h", "no lost return", "two clients, one upstream connection",
     [("    if (!more)\n        pool_push(s);", "")]),
    ("given_back_without_a_bit", "bpf/request.h", "no lost return", "redirects of two clients fail", [("    pool_push(u);\n", "")]),
    ("given_back_with_lease", "bpf/request.h", "no lost return", "redirects fail", [("    lease_clear(u);\n    pool_push", "    pool_push")]),
    ("freeze_without_comparing", "proxy/leave.c", "no lost byte", "a connection is taken twice",
     [("return slot_cas(s, &w, w | OWNER_FROZEN);",
       "return __atomic_fetch_or(&s->owner, OWNER_FROZEN, __ATOMIC_ACQ_REL) | 1;")]),
    ("pass_without_counting", "bpf/owner.h", "no lost byte", "a connection is taken twice", [("OWNER_SEQ_ONE - OWNER_BUSY", "-OWNER_BUSY")]),
    ("pass_without_user", "bpf/owner.h", "no lost byte", "a client does not wait", [("    __sync_fetch_and_or(&s->owner, OWNER_USER);\n", "")]),
    ("frozen_is_ignored", "bpf/skein.bpf.c", "no lost byte", "a connection is taken twice", [("if (owner & OWNER_FROZEN)", "if (0)")]),
    ("leave_unsettled", "proxy/leave.c", "no lost byte", "a connection is taken twice",
     [("return slot_settled(s);", "return true;"), ("!slot_settled(s) || !_copy_passed(c)", "!_copy_passed(c)")]),
    ("count_after_the_redirect", "bpf/response.h", "no deadlock", "redirects fail",
     [("    count_tx(s, d, len);\n", ""), ("    s->expect_seq += len;\n", "    s->expect_seq += len;\n    count_tx(s, d, len);\n")]),
    ("busy_is_ignored", "proxy/kernel.c", "no lost return", "a connection is taken twice", [("if (!(w & OWNER_BUSY))", "if (1)")]),
    ("lease_after_the_redirect", "bpf/request.h", "no delivery to a dead generation", "a connection is taken twice",
     [("    __sync_fetch_and_or(&s->owner, lease_bits(uref));\n", ""),
      ("    s->picked = 0;\n    if (c) {", "    __sync_fetch_and_or(&s->owner, lease_bits(uref));\n    s->picked = 0;\n    if (c) {")]),
    ("request_while_unsettled", "bpf/request.h", "no lost byte", "a client does not wait",
     [(" || !own_settled(ctx, s))\n        goto pass", ")\n        goto pass")]),
    ("request_while_leased", "bpf/request.h", "no lost byte", "a client does not wait", [("if (owner_lease(owner) || !own_settled", "if (!own_settled")]),
    ("held_is_forgotten", "proxy/leave.c", "no lost byte", "heads in parts", [("    _copy_held(c);\n    if", "    if")]),
    ("give_up_what_is_held", "bpf/request.h", "no lost byte", "a request in parts is refused", [("if (!IS_MSG && !s->held)", "if (1)")]),
    ("held_stays", "bpf/request.h", "no lost byte", "heads in parts", [("pass:\n    s->held = 0;", "pass:")]),
    ("held_stays_upstream", "bpf/response.h", "no lost byte", "heads in parts",
     [("!own_settled(ctx, s)))) {\n        s->held = 0;", "!own_settled(ctx, s)))) {")]),
    ("held_not_said", "bpf/body.h", "no lost byte", "heads in parts", [("    s->held = avail;\n", "")]),
    ("run_counts_one", "bpf/request.h", "no lost return", "a run", [("u->run = s->run;", "u->run = 1;")]),
    ("run_ends_first", "bpf/response.h", "no lost return", "a run", [("!s->remaining && s->run > s->replies", "0")]),
    ("run_heads_stay", "bpf/response.h", "no lost byte", "a run", [("        s->heads >>= 1;\n", "")]),
    ("run_taken_from_its_begin", "proxy/takeover.c", "response only to its request", "a run",
     [("for (unsigned i = us->run; i < ds->run; i++)", "for (unsigned i = 0; i < 0; i++)")]),
    ("run_rest_forgotten", "proxy/takeover.c", "no lost byte", "a run",
     [("        conn_keep(down, head + head_len, ds->total - at - head_len);\n", "")]),
    ("run_connection_used_again", "proxy/takeover.c", "response only to its request", "a run", [("x->upstream_spent = true", "x->upstream_spent = false")]),
    ("interim_is_final", "bpf/response.h", "no lost return", "an interim response", [("s->protocol == SLOT_HTTP && (s->head.flags & HTTP1_F_INTERIM))\n        return 0", "0)\n        return 0")]),
    ("final_while_waiting", "bpf/response.h", "no lost byte", "a response before its request is complete", [("    int waiting = d && d->remaining;", "    int waiting = 0;")]),
    ("response_while_unsettled", "bpf/response.h", "no lost byte", "a response before its request is complete", [(" || !own_settled(ctx, s)", "")]),
]


def _mutate(text, changes, name):
    for old, new in changes:
        if text.count(old) != 1:
            sys.exit(f"{name}: {text.count(old)} times in the source, not once: {old!r}")
        text = text.replace(old, new)
    return text


def main():
    if sys.argv[1] == "--list":
        for name, file, prop, scenario, _ in MUTANTS:
            print(f"{name}|{file}|{prop}|{scenario}")
        return
    name, source, target = sys.argv[1:]
    _, file, _, _, changes = next(m for m in MUTANTS if m[0] == name)
    source, target = pathlib.Path(source), pathlib.Path(target)
    folder, copy = (source / file).parent, target / pathlib.Path(file).parent
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir(parents=True)
    for f in folder.glob("*.[ch]") if folder.name == "bpf" else [source / file]:
        shutil.copy(f, copy)
    (target / file).write_text(_mutate((source / file).read_text(), changes, name))


main()
