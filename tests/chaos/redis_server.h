#pragma once
#include <stdio.h>
void redis_write_listeners(FILE *f);
void redis_write_clusters(FILE *f);
