/* SPDX-License-Identifier: Apache-2.0 */
/* mlcc many times: half of what it takes for a small model is its start, which is mostly LLVM's.
 *
 *     many <COMMANDS      a command a line, its arguments apart by tabs; each in a process of its own
 *
 * Prints for each command a line "STATUS LENGTH", and as many bytes as that: what mlcc said. */
#define main mlcc_main
#include "main.c"
#undef main

#include <sys/wait.h>
#include <unistd.h>

enum { MOST_ARGUMENTS = 64, SECONDS = 60 };

static int run(char *line, int out) {
    char *argv[MOST_ARGUMENTS + 2] = {(char[]){"mlcc"}};
    int argc = 1;
    for (char *p = strtok(line, "\t\n"); p && argc <= MOST_ARGUMENTS; p = strtok(NULL, "\t\n"))
        argv[argc++] = p;
    if (!freopen("/dev/null", "r", stdin) || dup2(out, STDOUT_FILENO) < 0 || dup2(out, STDERR_FILENO) < 0)
        return 125;
    alarm(SECONDS);
    return mlcc_main(argc, argv);
}

static void tell(int status, FILE *said) {
    char text[4096];
    fseek(said, 0, SEEK_END);
    printf("%d %ld\n", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), ftell(said));
    rewind(said);
    for (size_t n; (n = fread(text, 1, sizeof text, said));)
        fwrite(text, 1, n, stdout);
    fflush(stdout);
}

int main(void) {
    char *line = NULL;
    size_t room = 0;
    while (getline(&line, &room, stdin) > 0) {
        FILE *said = tmpfile();
        pid_t child = said ? fork() : -1;
        if (child < 0)
            return 1;
        if (child == 0)
            exit(run(line, fileno(said)));
        int status = 0;
        waitpid(child, &status, 0);
        tell(status, said);
        fclose(said);
    }
    free(line);
    return 0;
}
