# The worker of cv.glmnet: Rscript cv_glmnet.R SHARED WHAT VARIANT FOLDER. It speaks the protocol of
# path_race/worker.py; WHAT as in cv_race/worker.py. SHARED is path_race's glmnet.R, of which it
# takes the functions alone.
words <- commandArgs(trailingOnly = TRUE)
what <- words[2]
variant <- strsplit(words[3], ", ")[[1]]
folder <- words[4]
for (part in as.list(parse(words[1]))) {
  assigns <- is.call(part) && identical(part[[1]], as.name("<-")) && is.call(part[[3]])
  if (assigns && identical(part[[3]][[1]], as.name("function"))) eval(part)
}

loaded <- tryCatch({
  suppressPackageStartupMessages({library(Matrix); library(glmnet); library(foreach)})
  NULL
}, error = function(e) conditionMessage(e))
if (!is.null(loaded)) {
  say('{"reason": "%s"}', quoted(loaded))
  quit(status = 0)
}

problem <- paste(readLines(file.path(folder, "problem.json"), warn = FALSE), collapse = " ")
shape <- as.numeric(strsplit(sub('.*"shape": \\[([^]]*)\\].*', "\\1", problem), ", ")[[1]])
loss <- sub('.*"loss": "([^"]*)".*', "\\1", problem)
y <- read_npy("y")
lams <- read_npy("lams")
x <- matrix(read_npy("X"), shape[1], shape[2])
folds <- read_npy("folds") + 1
sets <- matrix(read_npy("sets"), ncol = shape[1]) == 1
invisible(gc())

# two forks for %dopar%, as doMC makes them
two_forks <- function(obj, expr, envir, data) {
  tasks <- iterators::iter(obj)
  arguments <- as.list(tasks)
  one <- function(given) eval(expr, given, envir)
  found <- parallel::mclapply(arguments, one, mc.cores = 2)
  collect <- foreach::makeAccum(tasks)
  collect(found, seq_along(found))
  foreach::getResult(tasks)
}
parallel <- variant[2] == "2 processes"
if (parallel) setDoPar(two_forks) else registerDoSEQ()
each <- function(f) {
  if (parallel) parallel::mclapply(seq_len(nrow(sets)), f, mc.cores = 2)
  else lapply(seq_len(nrow(sets)), f)
}

# no early exit from the path: all lambdas are solved
glmnet.control(fdev = 0, devmax = 1)
options <- list(family = c(squared = "gaussian", logistic = "binomial")[[loss]], lambda = lams,
                standardize = FALSE, intercept = FALSE, maxit = 2000000000)
options[[if (loss == "squared") "type.gaussian" else "type.logistic"]] <- variant[1]

# (n_lams, p) of the rows of set k
fit <- function(k, tol) {
  rows <- sets[k, ]
  found <- do.call(glmnet, c(list(x = x[rows, , drop = FALSE], y = y[rows]), options, thresh = tol))
  coefs <- matrix(NaN, length(lams), ncol(x))
  coefs[seq_along(found$lambda), ] <- t(as.matrix(found$beta))
  coefs
}
fits <- function(tol) {
  coefs <- array(NaN, c(nrow(sets), length(lams), ncol(x)))
  found <- each(function(k) fit(k, tol))
  for (k in seq_along(found)) coefs[k, , ] <- found[[k]]
  coefs
}
whole <- function(tol) {
  if (!length(folds)) { # the mean number of features that a half has selected by then
    selected <- each(function(k) apply(fit(k, tol) != 0, 2, cummax))
    return(rowSums(Reduce(`+`, selected) / length(selected)))
  }
  given <- c(list(x = x, y = y, foldid = folds, parallel = parallel), options, thresh = tol)
  curve <- rep(NaN, length(lams))
  found <- do.call(cv.glmnet, given)$cvm
  curve[seq_along(found)] <- found
  curve
}

tryCatch(cat("5", file = "/proc/self/clear_refs"), error = function(e) NULL,
         warning = function(w) NULL)
before <- resident("VmRSS")
say('{"ready": true, "versions": "glmnet %s, R %s", "threads": "BLAS of R, glmnet itself 1"}',
    packageVersion("glmnet"), getRversion())
input <- file("stdin", "r")
while (length(line <- readLines(input, n = 1))) {
  tryCatch({
    tol <- number(line, "tol")
    start <- Sys.time()
    found <- suppressWarnings(if (what == "whole") whole(tol) else fits(tol))
    seconds <- as.numeric(difftime(Sys.time(), start, units = "secs"))
    memory <- resident("VmHWM") - before
    save <- sub('.*"save": "([^"]*)".*', "\\1", line)
    if (save != line) write_npy(found, save)
    curve <- if (what == "whole") paste(sprintf("%.17g", found), collapse = ", ") else ""
    say('{"seconds": %.6f, "memory": %s, "says": {"curve": [%s]}}', seconds,
        if (is.nan(memory)) "null" else memory, curve)
  }, error = function(e) say('{"error": "%s"}', quoted(conditionMessage(e))))
}
