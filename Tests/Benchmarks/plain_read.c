// The machine's limit: reads every byte of two directories with pread(2) in blocks of 256 KiB, or compares the files of
// one name with memcmp. Threads take the files in turn. Exits 1 where bytes differ.
//
// usage: plain_read read|memcmp THREADS DIRECTORY DIRECTORY
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK = 256 << 10, PATH = 4096, THREADS = 64 };

static char **names;
static int count;
static const char *sides[2];
static int compares;
static atomic_int next, differs;

static int opened(const char *side, const char *name) {
  char path[PATH];
  snprintf(path, sizeof path, "%s/%s", side, name);
  int file = open(path, O_RDONLY);
  if (file < 0) {
    perror(path);
    exit(65);
  }
  return file;
}

static void *work(void *unused) {
  char *left = aligned_alloc(4096, BLOCK), *right = aligned_alloc(4096, BLOCK);
  for (int i; (i = atomic_fetch_add(&next, 1)) < count;) {
    int a = opened(sides[0], names[i]), b = opened(sides[1], names[i]);
    for (off_t at = 0;; at += BLOCK) {
      ssize_t l = pread(a, left, BLOCK, at), r = pread(b, right, BLOCK, at);
      if (compares && (l != r || memcmp(left, right, l > 0 ? l : 0))) atomic_store(&differs, 1);
      if (l <= 0 && r <= 0) break;
    }
    close(a);
    close(b);
  }
  return unused;
}

static int by_name(const void *a, const void *b) { return strcmp(*(char **)a, *(char **)b); }

int main(int argc, char **argv) {
  int threads = argc == 5 ? atoi(argv[2]) : 0;
  if (threads < 1 || threads > THREADS) {
    fputs("usage: plain_read read|memcmp THREADS DIRECTORY DIRECTORY\n", stderr);
    return 64;
  }
  compares = !strcmp(argv[1], "memcmp");
  sides[0] = argv[3];
  sides[1] = argv[4];
  DIR *directory = opendir(sides[0]);
  if (!directory) {
    perror(sides[0]);
    return 65;
  }
  for (struct dirent *entry; (entry = readdir(directory));) {
    if (entry->d_name[0] == '.') continue;
    names = realloc(names, (count + 1) * sizeof *names);
    names[count++] = strdup(entry->d_name);
  }
  qsort(names, count, sizeof *names, by_name);
  pthread_t others[THREADS];
  for (int i = 1; i < threads; i++) pthread_create(&others[i], NULL, work, NULL);
  work(NULL);
  for (int i = 1; i < threads; i++) pthread_join(others[i], NULL);
  return atomic_load(&differs);
}
