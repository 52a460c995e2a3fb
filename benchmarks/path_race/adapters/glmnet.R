# The worker of glmnet: Rscript glmnet.R VARIANT FOLDER. It speaks the protocol of worker.py.
words <- commandArgs(trailingOnly = TRUE)
variant <- words[1]
folder <- words[2]
say <- function(...) {
  cat(sprintf(...), "\n", sep = "")
  flush(stdout())
}
quoted <- function(text) gsub("[\"\\\\\n]", " ", text)

loaded <- tryCatch({
  suppressPackageStartupMessages({library(Matrix); library(glmnet)})
  NULL
}, error = function(e) conditionMessage(e))
if (!is.null(loaded)) {
  say('{"reason": "%s"}', quoted(loaded))
  quit(status = 0)
}

# one-dimensional or Fortran-ordered arrays of NumPy's file format 1.0
read_npy <- function(name) {
  file <- file.path(folder, paste0(name, ".npy"))
  con <- file(file, "rb")
  on.exit(close(con))
  readBin(con, "raw", 8)
  header <- rawToChar(readBin(con, "raw", readBin(con, "integer", 1, 2, signed = FALSE)))
  if (grepl("<i4", header)) what <- "integer" else what <- "double"
  readBin(con, what, (file.size(file) - 10 - nchar(header)) / ifelse(what == "integer", 4, 8))
}

write_npy <- function(values, file) {
  shape <- paste0(paste(dim(values), collapse = ", "))
  header <- sprintf("{'descr': '<f8', 'fortran_order': True, 'shape': (%s), }", shape)
  header <- paste0(header, strrep(" ", 63 - (nchar(header) + 10) %% 64), "\n")
  con <- file(file, "wb")
  on.exit(close(con))
  writeBin(as.raw(c(0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0)), con)
  writeBin(nchar(header), con, size = 2)
  writeChar(header, con, eos = NULL)
  writeBin(as.vector(values), con)
}

number <- function(text, name) {
  as.numeric(sub(sprintf('.*"%s": ([-+0-9.eE]+).*', name), "\\1", text))
}
resident <- function(word) { # in MB
  lines <- tryCatch(readLines("/proc/self/status"), error = function(e) character())
  line <- grep(paste0("^", word), lines, value = TRUE)
  if (length(line)) as.numeric(strsplit(line, "[ \t]+")[[1]][2]) / 1024 else NaN
}

problem <- paste(readLines(file.path(folder, "problem.json"), warn = FALSE), collapse = " ")
shape <- as.numeric(strsplit(sub('.*"shape": \\[([^]]*)\\].*', "\\1", problem), ", ")[[1]])
loss <- sub('.*"loss": "([^"]*)".*', "\\1", problem)
ratio <- number(problem, "l1_ratio")
y <- read_npy("y")
lams <- read_npy("lams")
if (grepl('"sparse": true', problem)) {
  x <- new("dgCMatrix", i = read_npy("indices"), p = read_npy("indptr"), x = read_npy("data"),
           Dim = as.integer(shape))
} else {
  x <- matrix(read_npy("X"), shape[1], shape[2])
}
invisible(gc())

# no early exit from the path: all lambdas are solved
glmnet.control(fdev = 0, devmax = 1)
family <- c(squared = "gaussian", logistic = "binomial", poisson = "poisson",
            multinomial = "multinomial")[[loss]]
options <- list(x = x, y = y, family = family, alpha = ratio, lambda = lams, standardize = FALSE,
                intercept = FALSE, maxit = 2000000000)
if (loss == "squared") options$type.gaussian <- variant
if (loss == "logistic") options$type.logistic <- variant

solve <- function(tol) {
  fit <- suppressWarnings(do.call(glmnet, c(options, thresh = tol)))
  if (is.list(fit$beta)) {
    coefs <- array(NaN, c(length(lams), ncol(x), length(fit$beta)))
    for (k in seq_along(fit$beta)) coefs[seq_along(fit$lambda), , k] <- t(as.matrix(fit$beta[[k]]))
  } else {
    coefs <- matrix(NaN, length(lams), ncol(x))
    coefs[seq_along(fit$lambda), ] <- t(as.matrix(fit$beta))
  }
  coefs
}

tryCatch(cat("5", file = "/proc/self/clear_refs"), error = function(e) NULL,
         warning = function(w) NULL)
before <- resident("VmRSS")
say('{"ready": true, "versions": "glmnet %s, R %s", "threads": "BLAS of R, glmnet itself 1"}',
    packageVersion("glmnet"), getRversion())
input <- file("stdin", "r")
while (length(line <- readLines(input, n = 1))) {
  tryCatch({
    start <- Sys.time()
    coefs <- solve(number(line, "tol"))
    seconds <- as.numeric(difftime(Sys.time(), start, units = "secs"))
    memory <- resident("VmHWM") - before
    save <- sub('.*"save": "([^"]*)".*', "\\1", line)
    if (save != line) write_npy(coefs, save)
    say('{"seconds": %.6f, "memory": %s}', seconds, if (is.nan(memory)) "null" else memory)
  }, error = function(e) say('{"error": "%s"}', quoted(conditionMessage(e))))
}
