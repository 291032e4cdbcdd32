// ONNX Runtime whose inference hangs: a library that stands in for the real one, and holds up
// RunWithBinding as long as the file /run/flawd-hangs exists. Used by clean-root.sh.

#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

// As in onnxruntime_c_api.h; functions are only ever appended, so their places are fixed.
typedef struct {
    void **(*get_api)(uint32_t version);
    const char *(*get_version)(void);
} base_t;
enum { RUN_WITH_BINDING = 133 };

static const base_t *real;
static base_t own;
static void *(*run)(void *session, const void *options, const void *binding);

static void *slow_run(void *session, const void *options, const void *binding) {
    while (access("/run/flawd-hangs", F_OK) == 0)
        usleep(10000);
    return run(session, options, binding);
}

static void **get_api(uint32_t version) {
    void **api = real->get_api(version);
    if (api && api[RUN_WITH_BINDING] != (void *)slow_run) {
        long page = sysconf(_SC_PAGESIZE);
        uintptr_t start = (uintptr_t)&api[RUN_WITH_BINDING] & -page;
        if (mprotect((void *)start, 2 * page, PROT_READ | PROT_WRITE))
            abort();
        run = api[RUN_WITH_BINDING];
        api[RUN_WITH_BINDING] = slow_run;
    }
    return api;
}

const base_t *OrtGetApiBase(void) {
    if (!real) {
        void *library = dlopen("/usr/lib/flawd/" LIBRARY, RTLD_NOW);
        const base_t *(*base)(void) = library ? dlsym(library, "OrtGetApiBase") : 0;
        if (!base)
            abort();
        real = base();
        own = (base_t){get_api, real->get_version};
    }
    return &own;
}
