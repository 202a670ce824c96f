# The modules of proxy/ are parts of one program: a test compiles those that it is about, and
# stands in for the rest.
function(skein_proxy_test name)
  cmake_parse_arguments(arg "" "" "SOURCES;LIBS" ${ARGN})
  skein_unit_test(${name} ${arg_LIBS})
  list(TRANSFORM arg_SOURCES PREPEND ${PROJECT_SOURCE_DIR}/proxy/)
  target_sources(test_${name} PRIVATE ${arg_SOURCES})
endfunction()

skein_proxy_test(conn SOURCES conn.c conn_output.c gather.c LIBS skein_framer PkgConfig::LIBEVENT Threads::Threads)
skein_proxy_test(conn_gather SOURCES conn.c conn_output.c gather.c LIBS skein_framer PkgConfig::LIBEVENT Threads::Threads)
target_link_options(test_conn_gather PRIVATE -Wl,--wrap=sendmsg)
skein_proxy_test(fallback SOURCES fallback.c LIBS skein_framer)
skein_proxy_test(head SOURCES head.c LIBS skein_parsers PkgConfig::LIBEVENT)
skein_proxy_test(listen SOURCES listen.c LIBS PkgConfig::LIBEVENT)
skein_proxy_test(log SOURCES log.c)
skein_proxy_test(reply SOURCES reply.c LIBS skein_parsers PkgConfig::LIBEVENT)
skein_proxy_test(runtime SOURCES runtime.c LIBS skein_conf skein_parsers Threads::Threads)

# The words that the daemon and the BPF programs share, and the protocol they follow.
skein_unit_test(owner skein_framer)
skein_unit_test(owner_model skein_framer)
