# The modules of proxy/ are parts of one program: a test compiles those that it is about, and
# stands in for the rest.
function(skein_proxy_test name)
  cmake_parse_arguments(arg "" "" "SOURCES;LIBS" ${ARGN})
  skein_unit_test(${name} ${arg_LIBS})
  list(TRANSFORM arg_SOURCES PREPEND ${PROJECT_SOURCE_DIR}/proxy/)
  target_sources(test_${name} PRIVATE ${arg_SOURCES})
endfunction()

skein_proxy_test(cgroup SOURCES cgroup.c)
foreach(topic conn conn_end conn_gather conn_gather_sizes conn_gather_states conn_output conn_suspend)
  skein_proxy_test(${topic} SOURCES conn.c conn_output.c gather.c LIBS skein_framer PkgConfig::LIBEVENT Threads::Threads)
  if(topic MATCHES gather)
    target_link_options(test_${topic} PRIVATE -Wl,--wrap=sendmsg)
  endif()
endforeach()
skein_proxy_test(fallback SOURCES fallback.c LIBS skein_framer)
skein_proxy_test(fault SOURCES fault.c)
skein_proxy_test(head SOURCES head.c LIBS skein_parsers PkgConfig::LIBEVENT)
skein_proxy_test(head_edit SOURCES head.c date.c head_edit.c peer.c request_id.c LIBS skein_conf skein_parsers PkgConfig::LIBEVENT)
skein_proxy_test(listen SOURCES listen.c LIBS PkgConfig::LIBEVENT)
skein_proxy_test(log SOURCES log.c)
skein_proxy_test(reply SOURCES reply.c LIBS skein_parsers PkgConfig::LIBEVENT)
skein_proxy_test(runtime SOURCES runtime.c balance.c endpoint.c log.c LIBS skein_conf skein_parsers skein_framer PkgConfig::LIBEVENT Threads::Threads)
skein_proxy_test(balance SOURCES runtime.c balance.c endpoint.c log.c LIBS skein_conf skein_parsers skein_framer PkgConfig::LIBEVENT Threads::Threads)
skein_proxy_test(endpoint SOURCES runtime.c balance.c endpoint.c log.c LIBS skein_conf skein_parsers skein_framer PkgConfig::LIBEVENT Threads::Threads)

# The Redis path as a whole behind a worker's listener; each test is about one of its sources.
set(redis_sources redis_client.c redis_client_input.c redis_command.c redis_local.c redis_pin.c redis_pubsub.c
                  redis_request.c redis_shard.c redis_split.c redis_transaction.c redis_upstream.c
                  redis_upstream_reply.c redis_upstream_setup.c)
set(redis_bench_sources conn.c conn_output.c endpoint.c gather.c log.c redis_path.c runtime.c worker.c
                        ${redis_sources})
list(TRANSFORM redis_bench_sources PREPEND ${PROJECT_SOURCE_DIR}/proxy/)
add_library(redis_bench STATIC redis_bench.c redis_bench_bytes.c redis_bench_stubs.c ${redis_bench_sources})
target_link_libraries(redis_bench PUBLIC skein_flags skein_conf skein_parsers skein_framer PkgConfig::CMOCKA
                                         PkgConfig::LIBEVENT PkgConfig::LIBCRYPTO Threads::Threads)
target_link_options(redis_bench INTERFACE -Wl,--wrap=pthread_create,--wrap=pthread_join)
foreach(source IN LISTS redis_sources)
  string(REPLACE .c "" name ${source})
  skein_proxy_test(${name} LIBS redis_bench)
endforeach()

# The words that the daemon and the BPF programs share, and the protocol they follow.
skein_unit_test(owner skein_framer)
