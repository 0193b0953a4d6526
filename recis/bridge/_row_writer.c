/* The same as `PlainRowWriter` in row_writer.py, see there; compiled if a compiler was available at installation.

   After a pause the caches are cold, and a call costs the memory that it touches: here that is little beside what the
   interpreter goes through for the same. No other thread and no other code runs between the look at `limit` and the
   last row of a report: the interpreter lock is kept, and nothing is called that could run Python code or collect
   garbage, except on the way to a refusal. So a report can neither be interrupted nor waited for, and `busy` is always
   false. A build of Python without that lock uses the plain writer: there is no stable ABI for it to load this by. */

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__ || !defined(__SIZEOF_INT128__)
#error "Row checksums are implemented for 64-bit little-endian machines; others use the plain writer."
#endif

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <structmember.h>
#include <time.h>

#define ROW_VALUES 2048 /* records.ROW_VALUES */
#define MOST_LAYOUTS 32 /* row_writer.MOST_LAYOUTS */
#define FEW_VALUES 64
#define PRIME 1000000007u /* records.PRIME */

typedef struct {
    int64_t head;
    uint32_t salt;
} RowLayout;

typedef struct {
    PyObject *keys; /* a tuple, or NULL */
    Py_ssize_t width;
    Py_ssize_t num_rows;
    RowLayout first; /* stored inline: most reports have one row, and memory accesses dominate the cost */
    RowLayout *more; /* of the other rows, or NULL */
} ReportLayout;

typedef struct {
    PyObject_HEAD
    ReportLayout layouts[MOST_LAYOUTS];
    Py_ssize_t num_learned; /* since it was aimed: the newest one is at `num_learned - 1`, modulo MOST_LAYOUTS */
    Py_buffer words;        /* its `obj` is NULL while there is no segment */
    double *wide;           /* for reports of more than FEW_VALUES */
    Py_ssize_t widest;      /* number of values that fit `wide` */
    unsigned long owner;
    Py_ssize_t end, left, num_values, limit;
    char busy;
} RowWriter;

static void
forget_layout(ReportLayout *layout)
{
    PyObject *keys = layout->keys;
    PyMem_Free(layout->more);
    *layout = (ReportLayout){NULL, 0, 0, {0, 0}, NULL};
    Py_XDECREF(keys);
}

static void
forget(RowWriter *self)
{
    self->num_learned = 0;
    for (int place = 0; place < MOST_LAYOUTS; place++)
        forget_layout(&self->layouts[place]);
}

static PyObject *
aim(RowWriter *self, PyObject *words)
{
    Py_buffer buffer;

    if (PyObject_GetBuffer(words, &buffer, PyBUF_WRITABLE) < 0)
        return NULL;
    if ((uintptr_t)buffer.buf % sizeof(int64_t)) {
        PyBuffer_Release(&buffer);
        PyErr_SetString(PyExc_ValueError, "expected memory that begins at a multiple of 8");
        return NULL;
    }
    Py_buffer before = self->words;
    self->words = buffer;
    self->owner = PyThread_get_thread_ident();
    PyBuffer_Release(&before);
    forget(self);
    Py_RETURN_NONE;
}

/* Fill the rows of `layout`, whose `more` has room for all but the first, from a tuple of (head, salt). */
static int
read_rows(PyObject *rows, ReportLayout *layout)
{
    for (Py_ssize_t row = 0; row < layout->num_rows; row++) {
        PyObject *one = PyTuple_GetItem(rows, row);
        long long head;
        unsigned int salt;
        if (!PyTuple_Check(one)) {
            PyErr_SetString(PyExc_TypeError, "expected head and salt of each row as a tuple");
            return -1;
        }
        if (!PyArg_ParseTuple(one, "LI:learn", &head, &salt))
            return -1;
        *(row ? &layout->more[row - 1] : &layout->first) = (RowLayout){head, salt};
    }
    return 0;
}

static int
reserve_values(RowWriter *self, Py_ssize_t width)
{
    if (width <= FEW_VALUES || width <= self->widest)
        return 0;
    double *wide = PyMem_Realloc(self->wide, (size_t)width * sizeof(double));
    if (wide == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    self->wide = wide;
    self->widest = width;
    return 0;
}

static PyObject *
learn(RowWriter *self, PyObject *args)
{
    PyObject *keys, *rows;

    if (!PyArg_ParseTuple(args, "O!O!:learn", &PyTuple_Type, &keys, &PyTuple_Type, &rows))
        return NULL;
    Py_ssize_t width = PyTuple_Size(keys), num_rows = (width + ROW_VALUES - 1) / ROW_VALUES;
    if (width == 0 || PyTuple_Size(rows) != num_rows)
        return PyErr_Format(PyExc_ValueError, "expected a row per %d names, got %zd names and %zd rows", ROW_VALUES,
                            width, PyTuple_Size(rows));
    for (Py_ssize_t place = 0; place < width; place++)
        if (!PyUnicode_CheckExact(PyTuple_GetItem(keys, place))) {
            PyErr_SetString(PyExc_TypeError, "expected names of the type str");
            return NULL;
        }
    for (int place = 0; place < MOST_LAYOUTS && self->layouts[place].keys != NULL; place++) {
        if (self->layouts[place].width != width)
            continue;
        int same = PyObject_RichCompareBool(self->layouts[place].keys, keys, Py_EQ);
        if (same < 0)
            return NULL;
        if (same)
            Py_RETURN_NONE;
    }
    ReportLayout layout = {keys, width, num_rows, {0, 0}, NULL};
    if (num_rows > 1 && (layout.more = PyMem_Calloc((size_t)num_rows - 1, sizeof(RowLayout))) == NULL)
        return PyErr_NoMemory();
    if (read_rows(rows, &layout) < 0 || reserve_values(self, width) < 0) {
        PyMem_Free(layout.more);
        return NULL;
    }
    Py_INCREF(keys);
    ReportLayout *place = &self->layouts[self->num_learned++ % MOST_LAYOUTS];
    ReportLayout before = *place;
    *place = layout;
    forget_layout(&before);
    Py_RETURN_NONE;
}

static PyObject *
leave(RowWriter *self, PyObject *Py_UNUSED(none))
{
    self->limit = 0;
    PyBuffer_Release(&self->words);
    Py_RETURN_NONE;
}

/* Store the number of a value in `into`; return 0 without an error for anything but a float or int that fits. */
static int
number_of(PyObject *value, double *into)
{
    if (!PyFloat_CheckExact(value) && !PyLong_CheckExact(value))
        return 0;
    *into = PyFloat_CheckExact(value) ? PyFloat_AsDouble(value) : PyLong_AsDouble(value);
    if (*into == -1.0 && PyErr_Occurred()) {
        PyErr_Clear();
        return 0;
    }
    return 1;
}

static void *compare_strings; /* how the type str compares */

/* Whether a name is compared as strings are: members of enumerations are, other classes may run any code. */
static int
is_string(PyObject *name)
{
    return PyUnicode_CheckExact(name)
           || (PyUnicode_Check(name) && PyType_GetSlot(Py_TYPE(name), Py_tp_richcompare) == compare_strings);
}

static int
are_strings(PyObject *metrics)
{
    PyObject *name;
    Py_ssize_t place = 0;

    while (PyDict_Next(metrics, &place, &name, NULL))
        if (!is_string(name))
            return 0;
    return 1;
}

enum { NO_NUMBERS = -1, OTHER_NAMES = 0, FOUND = 1 };

/* All values of `metrics` in the order of `keys`, whatever the order of `metrics` is. */
static int
look_up_values(PyObject *metrics, PyObject *keys, double *values)
{
    Py_ssize_t width = PyTuple_Size(keys);

    if (!are_strings(metrics))
        return NO_NUMBERS;
    for (Py_ssize_t place = 0; place < width; place++) {
        PyObject *value = PyDict_GetItemWithError(metrics, PyTuple_GetItem(keys, place));
        if (value == NULL)
            return OTHER_NAMES;
        if (!number_of(value, &values[place]))
            return NO_NUMBERS;
    }
    return FOUND;
}

/* All values of `metrics`, which has as many names as `keys`. Names in the order of `keys` need no look at their hash,
   and those that are the same objects no look at all. No Python code runs in here: a name that compares itself in its
   own way is left to the slow path. */
static int
read_values(PyObject *metrics, PyObject *keys, double *values)
{
    PyObject *name, *value;
    Py_ssize_t next = 0;

    for (Py_ssize_t place = 0; PyDict_Next(metrics, &next, &name, &value); place++) {
        PyObject *key = PyTuple_GetItem(keys, place);
        if (name != key) {
            if (!is_string(name))
                return NO_NUMBERS;
            if (PyUnicode_Compare(name, key) != 0)
                return look_up_values(metrics, keys, values);
        }
        if (!number_of(value, &values[place]))
            return NO_NUMBERS;
    }
    return FOUND;
}

/* The layout that `metrics` has, its values in `values`; NULL where there is none. */
static ReportLayout *
find_layout(RowWriter *self, PyObject *metrics, Py_ssize_t width, double *values)
{
    for (int place = 0; place < MOST_LAYOUTS && self->layouts[place].keys != NULL; place++) {
        if (self->layouts[place].width != width)
            continue; /* without reading its names, which also costs memory accesses */
        int found = read_values(metrics, self->layouts[place].keys, values);
        if (found != OTHER_NAMES)
            return found == FOUND ? &self->layouts[place] : NULL;
    }
    PyErr_Clear(); /* comparing strings may fail without memory */
    return NULL;
}

/* 2^(64 i) modulo PRIME, the weight of word i. */
static uint32_t powers[ROW_VALUES + 2];

static void
fill_powers(void)
{
    uint64_t power = 1, base = UINT64_MAX % PRIME + 1;
    for (int place = 0; place < ROW_VALUES + 2; place++) {
        powers[place] = (uint32_t)power;
        power = power * base % PRIME;
    }
}

/* The words as one integer, least significant word first, plus `sum`, modulo PRIME. The sum of products fits 128 bits. */
static uint32_t
check_of(const int64_t *words, Py_ssize_t count, uint64_t sum)
{
    unsigned __int128 number = sum;
    for (Py_ssize_t place = 0; place < count; place++)
        number += (unsigned __int128)(uint64_t)words[place] * powers[place];
    uint64_t high = (uint64_t)(number >> 64) % PRIME, low = (uint64_t)number % PRIME;
    return (uint32_t)((high * powers[1] + low) % PRIME);
}

/* One row at `self->end`. Its head comes last: from then on it is there, also if the process is killed. */
static void
put_row(RowWriter *self, RowLayout *layout, int64_t step, const double *values, Py_ssize_t width, int64_t now)
{
    int64_t *row = (int64_t *)self->words.buf + self->end;
    row[1] = step;
    memcpy(row + 2, values, (size_t)width * sizeof(double));
    row[2 + width] = now;
    int64_t head = layout->head | check_of(row + 1, width + 2, (uint64_t)layout->salt + (uint64_t)self->end);
    atomic_thread_fence(memory_order_release);
    *(volatile int64_t *)row = head;
    self->end += width + 3;
}

static PyObject *
write_report(RowWriter *self, PyObject *const *args, Py_ssize_t num_args)
{
    if (num_args != 2) {
        PyErr_Format(PyExc_TypeError, "write expected metrics and step, got %zd arguments", num_args);
        return NULL;
    }
    PyObject *metrics = args[0];
    if (self->owner != PyThread_get_thread_ident() || !PyLong_CheckExact(args[1]) || !PyDict_CheckExact(metrics))
        Py_RETURN_FALSE;
    Py_ssize_t width = PyDict_Size(metrics), num_rows = (width + ROW_VALUES - 1) / ROW_VALUES;
    if (self->left <= 0 || self->words.buf == NULL || self->end > self->limit - width - 3 * num_rows
        || self->limit > self->words.len / (Py_ssize_t)sizeof(int64_t) || (width > FEW_VALUES && width > self->widest))
        Py_RETURN_FALSE;
    long long step = PyLong_AsLongLong(args[1]);
    if (step == -1 && PyErr_Occurred()) {
        PyErr_Clear();
        Py_RETURN_FALSE;
    }

    /* All values before the first row: a report that cannot be written leaves nothing. */
    double few[FEW_VALUES], *values = width <= FEW_VALUES ? few : self->wide;
    ReportLayout *layout = find_layout(self, metrics, width, values);
    if (layout == NULL)
        Py_RETURN_FALSE;

    struct timespec now;
    timespec_get(&now, TIME_UTC);
    int64_t now_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    for (Py_ssize_t row = 0, first = 0; row < num_rows; row++, first += ROW_VALUES) {
        Py_ssize_t count = width - first < ROW_VALUES ? width - first : ROW_VALUES;
        put_row(self, row ? &layout->more[row - 1] : &layout->first, step, values + first, count, now_ns);
    }
    self->num_values += width;
    self->left--;
    Py_RETURN_TRUE;
}

static PyObject *
get_position(RowWriter *self, void *Py_UNUSED(none))
{
    return Py_BuildValue("nnn", self->end, self->left, self->num_values);
}

static int
set_position(RowWriter *self, PyObject *value, void *Py_UNUSED(none))
{
    Py_ssize_t end, left, num_values;

    if (value == NULL || !PyTuple_Check(value)
        || !PyArg_ParseTuple(value, "nnn:position", &end, &left, &num_values)) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_TypeError, "expected word, reports left and values written, as a tuple");
        return -1;
    }
    if (end < 0) {
        PyErr_Format(PyExc_ValueError, "expected a word of the segment, got %zd", end);
        return -1;
    }
    self->end = end;
    self->left = left;
    self->num_values = num_values;
    return 0;
}

static void
dealloc(RowWriter *self)
{
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    PyBuffer_Release(&self->words);
    forget(self);
    PyMem_Free(self->wide);
    release(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"aim", (PyCFunction)(void (*)(void))aim, METH_O, NULL},
    {"learn", (PyCFunction)(void (*)(void))learn, METH_VARARGS, NULL},
    {"leave", (PyCFunction)(void (*)(void))leave, METH_NOARGS, NULL},
    {"write", (PyCFunction)(void (*)(void))write_report, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef members[] = {
    {"busy", T_BOOL, offsetof(RowWriter, busy), READONLY, NULL},
    {"limit", T_PYSSIZET, offsetof(RowWriter, limit), 0, NULL},
    {"owner", T_ULONG, offsetof(RowWriter, owner), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef properties[] = {
    {"position", (getter)(void (*)(void))get_position, (setter)(void (*)(void))set_position, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_dealloc, dealloc},
    {Py_tp_doc, (void *)"See `recis.bridge.row_writer.PlainRowWriter`."},
    {Py_tp_members, members},
    {Py_tp_getset, properties},
    {Py_tp_methods, methods},
    {0, NULL},
};

static PyType_Spec spec = {"recis.bridge._row_writer.RowWriter", sizeof(RowWriter), 0, Py_TPFLAGS_DEFAULT, slots};

static int
fill_module(PyObject *module)
{
    fill_powers();
    compare_strings = PyType_GetSlot(&PyUnicode_Type, Py_tp_richcompare);
    PyObject *type = PyType_FromModuleAndSpec(module, &spec, NULL);
    if (type == NULL)
        return -1;
    int status = PyModule_AddType(module, (PyTypeObject *)type);
    Py_DECREF(type);
    return status;
}

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, fill_module}, {0, NULL}};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_row_writer", NULL, 0, NULL, module_slots, NULL, NULL, NULL};

PyMODINIT_FUNC
PyInit__row_writer(void)
{
    return PyModuleDef_Init(&module);
}
