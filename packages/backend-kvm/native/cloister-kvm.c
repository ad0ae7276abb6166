// The way from JavaScript to the kernel: a Node-API addon of four functions, without a C library.
//
//   syscall(number, ...arguments)   a Linux system call; the result, or -errno. An argument is a
//                                   number, a bigint, or a typed array: its address
//   view(address, length)           an ArrayBuffer over mapped memory
//   detach(buffer)                  empties such a buffer, before its memory is unmapped
//   addressOf(typedArray)           where its bytes lie, as a bigint
//
// No libc: the one binary runs beside glibc and musl alike. Sources: Node-API as Node's manual
// documents it (declared here, so that no header has to be found), System V ABI for x86-64 and
// syscall(2) for the registers. Everything else of this backend is TypeScript.
//
// Known limits: x86-64 Linux only. The caller is trusted: a wrong address ends the process.

typedef unsigned long size_t;
typedef unsigned long long u64;
typedef long long i64;
typedef unsigned char bool8;

typedef struct napi_env__ *napi_env;
typedef struct napi_value__ *napi_value;
typedef struct napi_callback_info__ *napi_callback_info;
typedef napi_value (*napi_callback)(napi_env, napi_callback_info);
typedef void (*napi_finalize)(napi_env, void *, void *);
typedef int napi_status;

enum { NAPI_OK = 0 };
enum { ARGUMENTS_MAX = 7 };
static const size_t AUTO_LENGTH = (size_t)-1;

#define IMPORT extern __attribute__((visibility("default")))
IMPORT napi_status napi_get_cb_info(napi_env, napi_callback_info, size_t *, napi_value *,
                                    napi_value *, void **);
IMPORT napi_status napi_get_value_int64(napi_env, napi_value, i64 *);
IMPORT napi_status napi_get_value_bigint_uint64(napi_env, napi_value, u64 *, bool8 *);
IMPORT napi_status napi_get_typedarray_info(napi_env, napi_value, int *, size_t *, void **,
                                            napi_value *, size_t *);
IMPORT napi_status napi_create_int64(napi_env, i64, napi_value *);
IMPORT napi_status napi_create_bigint_uint64(napi_env, u64, napi_value *);
IMPORT napi_status napi_create_external_arraybuffer(napi_env, void *, size_t, napi_finalize,
                                                    void *, napi_value *);
IMPORT napi_status napi_detach_arraybuffer(napi_env, napi_value);
IMPORT napi_status napi_get_undefined(napi_env, napi_value *);
IMPORT napi_status napi_throw_type_error(napi_env, const char *, const char *);
IMPORT napi_status napi_create_function(napi_env, const char *, size_t, napi_callback, void *,
                                        napi_value *);
IMPORT napi_status napi_set_named_property(napi_env, napi_value, const char *, napi_value);

static napi_value wrong(napi_env env, const char *message) {
  napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", message);
  return 0;
}

// The bits of an argument as a register takes them; 0 when it is of no type that fits.
static bool8 word(napi_env env, napi_value value, u64 *out) {
  bool8 lossless;
  void *data;
  if (napi_get_value_int64(env, value, (i64 *)out) == NAPI_OK) return 1;
  if (napi_get_typedarray_info(env, value, 0, 0, &data, 0, 0) == NAPI_OK) {
    *out = (u64)data;
    return 1;
  }
  return napi_get_value_bigint_uint64(env, value, out, &lossless) == NAPI_OK;
}

// Reads up to `max` arguments; how many there were, or -1 when one is of no type that fits.
static int words(napi_env env, napi_callback_info info, u64 *out, size_t max) {
  napi_value values[ARGUMENTS_MAX];
  size_t count = max;
  if (napi_get_cb_info(env, info, &count, values, 0, 0) != NAPI_OK) return -1;
  if (count > max) count = max;
  for (size_t i = 0; i < count; i++) {
    if (!word(env, values[i], &out[i])) return -1;
  }
  return (int)count;
}

static napi_value syscall(napi_env env, napi_callback_info info) {
  u64 w[ARGUMENTS_MAX] = {0, 0, 0, 0, 0, 0, 0};
  napi_value result = 0;
  if (words(env, info, w, ARGUMENTS_MAX) < 1) return wrong(env, "syscall takes words");
  register u64 r10 __asm__("r10") = w[4];
  register u64 r8 __asm__("r8") = w[5];
  register u64 r9 __asm__("r9") = w[6];
  i64 answer;
  __asm__ volatile("syscall"
                   : "=a"(answer)
                   : "a"(w[0]), "D"(w[1]), "S"(w[2]), "d"(w[3]), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  napi_create_int64(env, answer, &result);
  return result;
}

static napi_value view(napi_env env, napi_callback_info info) {
  u64 w[2];
  napi_value buffer = 0;
  if (words(env, info, w, 2) != 2) return wrong(env, "view takes an address and a length");
  if (napi_create_external_arraybuffer(env, (void *)w[0], w[1], 0, 0, &buffer) != NAPI_OK) {
    return wrong(env, "this Node cannot lend a buffer of that size");
  }
  return buffer;
}

static napi_value detach(napi_env env, napi_callback_info info) {
  napi_value buffer;
  size_t count = 1;
  napi_value nothing = 0;
  if (napi_get_cb_info(env, info, &count, &buffer, 0, 0) != NAPI_OK || count < 1 ||
      napi_detach_arraybuffer(env, buffer) != NAPI_OK) {
    return wrong(env, "detach takes an ArrayBuffer");
  }
  napi_get_undefined(env, &nothing);
  return nothing;
}

static napi_value address_of(napi_env env, napi_callback_info info) {
  napi_value array;
  napi_value result = 0;
  size_t count = 1;
  void *data;
  if (napi_get_cb_info(env, info, &count, &array, 0, 0) != NAPI_OK || count < 1 ||
      napi_get_typedarray_info(env, array, 0, 0, &data, 0, 0) != NAPI_OK) {
    return wrong(env, "addressOf takes a typed array");
  }
  napi_create_bigint_uint64(env, (u64)data, &result);
  return result;
}

static void export_function(napi_env env, napi_value to, const char *name, napi_callback call) {
  napi_value function;
  if (napi_create_function(env, name, AUTO_LENGTH, call, 0, &function) != NAPI_OK) return;
  napi_set_named_property(env, to, name, function);
}

__attribute__((visibility("default"))) int node_api_module_get_api_version_v1(void) { return 8; }

__attribute__((visibility("default"))) napi_value napi_register_module_v1(napi_env env,
                                                                          napi_value exports) {
  export_function(env, exports, "syscall", syscall);
  export_function(env, exports, "view", view);
  export_function(env, exports, "detach", detach);
  export_function(env, exports, "addressOf", address_of);
  return exports;
}
