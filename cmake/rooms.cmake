# SPDX-License-Identifier: Apache-2.0

# capstan_room(NAME DEPS lib... PRIVATE_DEPS lib...)
#
# A room is one folder of src/: its *.cc become the static library capstan_NAME, its *_test.cc the
# test program NAME_test. A room sees another only by linking it (DEPS); tools/check/layers.py holds
# the includes to the same table.
function(capstan_room name)
  cmake_parse_arguments(ROOM "" "" "DEPS;PRIVATE_DEPS;TEST_DEPS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "(_test|/main)\\.cc$")
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  if(sources)
    add_library(capstan_${name} STATIC ${sources})
    set(scope PUBLIC)
  else()
    add_library(capstan_${name} INTERFACE)
    set(scope INTERFACE)
  endif()
  target_include_directories(capstan_${name} ${scope} ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(capstan_${name} ${scope} ${ROOM_DEPS})
  if(sources)
    target_link_libraries(capstan_${name} PRIVATE ${ROOM_PRIVATE_DEPS})
  endif()
  if(tests)
    add_executable(${name}_test ${tests})
    target_link_libraries(${name}_test PRIVATE capstan_${name} ${ROOM_PRIVATE_DEPS} ${ROOM_TEST_DEPS}
                                               rapidcheck GTest::gmock GTest::gtest_main)
    target_compile_definitions(${name}_test PRIVATE CAPSTAN_SOURCE_DIR="${PROJECT_SOURCE_DIR}"
                                                    CAPSTAN_BINARY_DIR="${PROJECT_BINARY_DIR}")
    add_test(NAME ${name} COMMAND ${name}_test)
  endif()
endfunction()
