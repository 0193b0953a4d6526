/* The same as `PlainRowWriter` in row_writer.py, see there; for where a compiler was at hand when this was installed.

   After a pause the caches are cold, and a call costs the memory that it touches: here that is little beside what the
   interpreter goes through for the same. Nothing here gives the interpreter lock away between the last look at `limit`
   and the row that is there, so a row can neither be interrupted nor waited for, and `busy` is always false. A build of
   Python without that lock takes the plain writer: there is no stable ABI for it to load this by. */

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

#define MOST_VALUES 61 /* row_writer.MOST_VALUES */
#define MOST_LAYOUTS 32 /* row_writer.MOST_LAYOUTS */
#define PRIME 1000000007u /* records.PRIME */

typedef struct {
    PyObject *keys; /* a tuple, or NULL */
    Py_ssize_t width;
    int64_t head;
    uint32_t salt;
} Layout;

typedef struct {
    PyObject_HEAD
    Layout layouts[MOST_LAYOUTS];
    Py_ssize_t num_learned; /* since it was aimed: the newest one is at `num_learned - 1`, modulo MOST_LAYOUTS */
    Py_buffer words;        /* its `obj` is NULL while there is no segment */
    unsigned long owner;
    Py_ssize_t end, left, limit;
    char busy;
} RowWriter;

static void
forget(RowWriter *self)
{
    self->num_learned = 0;
    for (int place = 0; place < MOST_LAYOUTS; place++)
        Py_CLEAR(self->layouts[place].keys);
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

static PyObject *
learn(RowWriter *self, PyObject *args)
{
    PyObject *keys;
    long long head;
    unsigned int salt;

    if (!PyArg_ParseTuple(args, "O!LI:learn", &PyTuple_Type, &keys, &head, &salt))
        return NULL;
    Py_ssize_t width = PyTuple_Size(keys);
    if (width > MOST_VALUES)
        return PyErr_Format(PyExc_ValueError, "expected at most %d names, got %zd", MOST_VALUES, width);
    for (int place = 0; place < MOST_LAYOUTS && self->layouts[place].keys != NULL; place++) {
        PyObject *known = self->layouts[place].keys;
        Py_INCREF(known);
        int same = PyObject_RichCompareBool(known, keys, Py_EQ);
        Py_DECREF(known);
        if (same < 0)
            return NULL;
        if (same)
            Py_RETURN_NONE;
    }
    Layout *layout = &self->layouts[self->num_learned++ % MOST_LAYOUTS];
    PyObject *before = layout->keys;
    Py_INCREF(keys);
    *layout = (Layout){keys, width, head, salt};
    Py_XDECREF(before);
    Py_RETURN_NONE;
}

static PyObject *
leave(RowWriter *self, PyObject *Py_UNUSED(none))
{
    self->limit = 0;
    PyBuffer_Release(&self->words);
    Py_RETURN_NONE;
}

/* The number of a value into `into`; 0 for everything that is no float or int, or does not fit, without an error. */
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

/* All values of `metrics` in the order of `keys`; 0 where it has other names or other values. */
static int
read_values(PyObject *metrics, PyObject *keys, Py_ssize_t width, double *values)
{
    for (Py_ssize_t place = 0; place < width; place++) {
        PyObject *value = PyDict_GetItemWithError(metrics, PyTuple_GetItem(keys, place));
        if (value == NULL || !number_of(value, &values[place])) {
            PyErr_Clear(); /* a name may be of a class that compares itself in its own way, and raises */
            return 0;
        }
    }
    return 1;
}

/* Whether a row of so many values may be written now. */
static int
has_room(RowWriter *self, Py_ssize_t width)
{
    return self->left > 0 && self->end <= self->limit - width - 3 && self->words.buf != NULL
           && self->limit <= self->words.len / (Py_ssize_t)sizeof(int64_t);
}

/* The place of the layout that `metrics` has, its values in `values`; -1 where there is none. */
static int
find_layout(RowWriter *self, PyObject *metrics, Py_ssize_t width, double *values)
{
    for (int place = 0; place < MOST_LAYOUTS && self->layouts[place].keys != NULL; place++) {
        if (self->layouts[place].width != width)
            continue; /* without a look at its names: that is memory as well */
        PyObject *keys = self->layouts[place].keys;
        /* A name that compares itself in its own way may also run anything, the methods here included. */
        Py_INCREF(keys);
        int found = read_values(metrics, keys, width, values) && self->layouts[place].keys == keys;
        Py_DECREF(keys);
        if (found)
            return place;
    }
    return -1;
}

/* 2^(64 i) modulo PRIME, the weight of word i. */
static uint32_t powers[MOST_VALUES + 2];

static void
fill_powers(void)
{
    uint64_t power = 1, base = UINT64_MAX % PRIME + 1;
    for (int place = 0; place < MOST_VALUES + 2; place++) {
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

static PyObject *
write_row(RowWriter *self, PyObject *const *args, Py_ssize_t num_args)
{
    if (num_args != 2) {
        PyErr_Format(PyExc_TypeError, "write expected metrics and step, got %zd arguments", num_args);
        return NULL;
    }
    PyObject *metrics = args[0];
    if (self->owner != PyThread_get_thread_ident() || !PyLong_CheckExact(args[1]) || !PyDict_CheckExact(metrics))
        Py_RETURN_FALSE;
    Py_ssize_t width = PyDict_Size(metrics);
    if (!has_room(self, width))
        Py_RETURN_FALSE;
    long long step = PyLong_AsLongLong(args[1]);
    if (step == -1 && PyErr_Occurred()) {
        PyErr_Clear();
        Py_RETURN_FALSE;
    }

    /* The values first, and then what was seen once more: nothing else runs from there on. */
    double values[MOST_VALUES];
    int place = find_layout(self, metrics, width, values);
    if (place < 0 || !has_room(self, width))
        Py_RETURN_FALSE;

    struct timespec now;
    timespec_get(&now, TIME_UTC);
    int64_t *row = (int64_t *)self->words.buf + self->end;
    row[1] = step;
    memcpy(row + 2, values, (size_t)width * sizeof(double));
    row[2 + width] = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    Layout *layout = &self->layouts[place];
    int64_t head = layout->head | check_of(row + 1, width + 2, (uint64_t)layout->salt + (uint64_t)self->end);
    atomic_thread_fence(memory_order_release);
    *(volatile int64_t *)row = head; /* last: now it is there, also if the process is killed */
    self->end += width + 3;
    self->left--;
    Py_RETURN_TRUE;
}

static PyObject *
get_position(RowWriter *self, void *Py_UNUSED(none))
{
    return Py_BuildValue("nn", self->end, self->left);
}

static int
set_position(RowWriter *self, PyObject *value, void *Py_UNUSED(none))
{
    Py_ssize_t end, left;

    if (value == NULL || !PyTuple_Check(value) || !PyArg_ParseTuple(value, "nn:position", &end, &left)) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_TypeError, "expected the next row's word and how many rows are left, as a tuple");
        return -1;
    }
    if (end < 0) {
        PyErr_Format(PyExc_ValueError, "expected a word of the segment, got %zd", end);
        return -1;
    }
    self->end = end;
    self->left = left;
    return 0;
}

static void
dealloc(RowWriter *self)
{
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    PyBuffer_Release(&self->words);
    forget(self);
    release(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"aim", (PyCFunction)(void (*)(void))aim, METH_O, NULL},
    {"learn", (PyCFunction)(void (*)(void))learn, METH_VARARGS, NULL},
    {"leave", (PyCFunction)(void (*)(void))leave, METH_NOARGS, NULL},
    {"write", (PyCFunction)(void (*)(void))write_row, METH_FASTCALL, NULL},
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
